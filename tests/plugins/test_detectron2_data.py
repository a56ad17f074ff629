"""What detectron2 trains on and is judged by, against its own reader of COCO's format."""

import json

import numpy as np
import pytest
from coco_files import SQUARE, good, write
from PIL import Image

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.evaluation import COCOEvaluator

from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.plugins.detectron2_data import (
    coco_content,
    has_bitmaps,
    read_splits,
    records,
    register,
)


def config(root, *, mask=True, val="annotations.json", **model):
    splits = {
        split: {"images": "images", "annotations": file}
        for split, file in (("train", "annotations.json"), ("val", val))
    }
    data = {"root": str(root), "workers": 0, **splits}
    return Config.model_validate({"data": data, "model": {"mask": mask, **model}})


def by_detectron2(file, folder):
    """The records that detectron2 reads, with our names of what they have in common."""
    return load_coco_json(str(file), str(folder), "rb_read_by_detectron2")


def test_of_a_clean_file_detectron2_reads_the_same(tmp_path):
    file, folder = write(tmp_path, good())
    train, _ = read_splits(config(tmp_path))
    assert records(train) == by_detectron2(file, folder)
    assert not has_bitmaps(train)


def test_of_others_it_gets_what_validation_accepts(tmp_path):
    """Encoded in UTF-16, ids as floats and text, a box to be derived, an unused twin, a crowd."""
    clean, untidy = good(), good()
    untidy["categories"].insert(0, {"id": 0, "name": "seven", "supercategory": "none"})
    untidy["images"][0]["id"] = 1.0
    untidy["images"][1]["file_name"] = ".\\b.png"
    untidy["annotations"][0] |= {"category_id": 7.0, "image_id": 1.0}
    del untidy["annotations"][1]["bbox"]
    crowd = {"id": 90, "image_id": 2, "category_id": 3, "iscrowd": 1, "area": 4}
    rle = {"size": [30, 40], "counts": [1196, 4]}
    untidy["annotations"].append({**crowd, "bbox": [39, 26, 1, 4], "segmentation": rle})
    file, folder = write(tmp_path, clean)
    expected = by_detectron2(file, folder)
    file.write_bytes(json.dumps(untidy).encode("utf-16"))
    train, val = read_splits(config(tmp_path))
    assert records(train) == expected
    assert [each["iscrowd"] for each in coco_content(val)["annotations"]] == [0, 0, 1]


@pytest.mark.parametrize("order", [("three", "seven"), ("seven", "three"), ("seven",)])
def test_the_evaluator_judges_by_names_whatever_the_ids(tmp_path, order):
    """Perfect detections have AP 1, which was 0 where the ids of the files differ."""
    write(tmp_path, good())
    content = good()
    ids = {name: number for number, name in enumerate(order, start=21)}
    content["categories"] = [{"id": key, "name": name} for name, key in ids.items()]
    content["annotations"] = [
        {**each, "category_id": ids[name]}
        for each, name in zip(content["annotations"], ("seven", "three"), strict=True)
        if name in ids
    ]
    (tmp_path / "val.json").write_text(json.dumps(content))
    train, val = read_splits(config(tmp_path, val="val.json"))
    places = {name: place for place, name in enumerate(train.class_names)}
    file = tmp_path / "judged_by.json"
    register("rb_test_val", val, file)
    file.write_text(json.dumps(coco_content(val)))
    evaluator = COCOEvaluator("rb_test_val", ("bbox",), output_dir=None, use_fast_impl=False)
    evaluator.reset()
    evaluator._predictions = [
        {"image_id": image, "instances": [detection(image, places[name])]}
        for image, name in ((1, "seven"), (2, "three"))
        if name in ids
    ]
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
    assert MetadataCatalog.get("rb_test_val").thing_classes == ["three", "seven"]
    assert len(DatasetCatalog.get("rb_test_val")) == 2


def detection(image, category):
    return {"image_id": image, "category_id": category, "bbox": [5, 5, 10, 10], "score": 0.9}


def test_masks_as_bitmaps_are_noticed(tmp_path):
    content = good()
    counts = [155, 10, *[20, 10] * 9, 765]  # the pixels of its box, [5, 5, 10, 10]
    content["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": counts}
    write(tmp_path, content)
    train, _ = read_splits(config(tmp_path))
    assert has_bitmaps(train)


def test_other_classes_and_counts_are_refused(tmp_path):
    content = good()
    content["categories"][0]["name"] = "eight"
    write(tmp_path, good())
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="eight"):
        read_splits(config(tmp_path, val="val.json"))
    with pytest.raises(ConfigError, match="num_classes is 3, but the annotations have 2"):
        read_splits(config(tmp_path, num_classes=3))


def test_an_object_without_an_outline_stops_its_mask_evaluation(tmp_path):
    content = good()
    content["annotations"][1]["segmentation"] = []
    write(tmp_path, good())
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="1 object without an outline, .* leave out --engine"):
        read_splits(config(tmp_path, val="val.json"))
    read_splits(config(tmp_path, val="val.json", mask=False))


def test_pixels_that_it_would_show_otherwise_are_refused(tmp_path):
    _, folder = write(tmp_path, good())
    deep = np.full((30, 40), 4095, dtype=np.uint16)
    Image.fromarray(deep).save(folder / "a.png")
    with pytest.raises(DataError, match="use 12 of them, which detectron2 would show nearly black"):
        read_splits(config(tmp_path))


def test_images_that_it_would_turn_are_refused(tmp_path):
    """Ours leaves an image as stored if the annotations have that size; detectron2 stops."""
    content = good()
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("png", "jpg")
    _, folder = write(tmp_path, content, images=("a.jpg", "b.jpg"))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 30)).save(folder / "b.jpg", exif=turned)
    with pytest.raises(DataError, match=r"b\.jpg.*30 x 40|b\.jpg.*40 x 30"):
        read_splits(config(tmp_path))


def test_a_limit_holds_for_the_evaluator_too(tmp_path):
    write(tmp_path, good())
    cfg = config(tmp_path)
    limited = cfg.data.val.model_copy(update={"limit": 1})
    cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update={"val": limited})})
    _, val = read_splits(cfg)
    content = coco_content(val)
    assert [image["id"] for image in content["images"]] == [1]
    assert [each["segmentation"] for each in content["annotations"]] == [[SQUARE]]
