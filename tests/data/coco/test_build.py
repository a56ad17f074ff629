import logging

import numpy as np
import pytest
from coco_files import good, write, write_many
from PIL import Image

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import (
    build_dataset,
    build_test_loader,
    build_train_loader,
    check_coco_files,
    draw_shapes_dataset,
)
from resnet_backbone.errors import ConfigError, DataError


def config(root, **changes):
    split = {"images": "images", "annotations": "annotations.json"}
    return DataConfig.model_validate(
        {"root": str(root), "train": split, "val": split, "workers": 0} | changes
    )


@pytest.fixture
def with_an_empty_image(tmp_path):
    content = good()
    del content["annotations"][1]
    write(tmp_path, content)
    return tmp_path


def test_images_without_boxes_are_dropped_in_training_alone(with_an_empty_image, caplog):
    caplog.set_level(logging.INFO)
    cfg = config(with_an_empty_image)
    assert build_dataset(cfg, "train", with_masks=True, seed=0).image_ids == (1,)
    assert "1 image, 2 classes; 1 image without boxes left out" in caplog.text
    assert build_dataset(cfg, "val", with_masks=True, seed=0).image_ids == (1, 2)
    kept = config(with_an_empty_image, keep_empty=True)
    assert build_dataset(kept, "train", with_masks=True, seed=0).image_ids == (1, 2)
    assert caplog.text.count("1 image without boxes kept") == 2


def test_crowds_are_no_boxes(tmp_path):
    content = good()
    content["annotations"][1]["iscrowd"] = 1
    write(tmp_path, content)
    cfg = config(tmp_path)
    assert build_dataset(cfg, "train", with_masks=True, seed=0).image_ids == (1,)
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    (batch,) = build_test_loader(cfg, dataset, batch_size=2)
    assert batch.targets.valid.tolist() == [[True], [False]]


NOTHING = {
    "boxes only": (
        {"segmentation": []},
        {},
        "2 x no outline; model.mask=false trains on boxes alone",
    ),
    "crowds": (
        {"iscrowd": 1},
        {},
        "left out were 2 x crowd region; single objects need iscrowd 0$",
    ),
    "no width": ({"bbox": [5, 5, 0, 5]}, {}, "left out were 2 x box without area$"),
    "rejected": ({"bbox": [5, 5, -5, 5]}, {"on_bad_sample": "skip"}, "were 2 x negative box$"),
    "a mixture": ({"segmentation": [[5, 5, 9, 9]]}, {}, "2 x no outline; model.mask=false"),
}


@pytest.mark.parametrize("keep_empty", [False, True])
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_left_to_train_on_for_reasons_with_counts(tmp_path, name, keep_empty):
    """Keeping images without boxes would train on nothing."""
    changes, options, expected = NOTHING[name]
    content = good()
    for annotation in content["annotations"]:
        annotation |= changes
    write(tmp_path, content)
    cfg = config(tmp_path, keep_empty=keep_empty, **options)
    with pytest.raises(DataError, match=f"no image has an instance to train on; .*{expected}"):
        build_dataset(cfg, "train", with_masks=True, seed=0)


def test_nothing_to_train_on_from_the_start(tmp_path):
    write(tmp_path, good() | {"annotations": []})
    with pytest.raises(DataError, match="train on: the file has no annotations of its images"):
        build_dataset(config(tmp_path), "train", with_masks=True, seed=0)
    content = good()
    del content["annotations"][0]
    write(tmp_path, content)
    split = {"images": "images", "annotations": "annotations.json", "limit": 1}
    with pytest.raises(DataError, match="among the first 1; raise data.train.limit"):
        build_dataset(config(tmp_path, train=split, keep_empty=True), "train", with_masks=1, seed=0)


def test_nothing_to_evaluate_by_is_said(tmp_path, caplog):
    content = good()
    for annotation in content["annotations"]:
        annotation["bbox"] = [5, 5, -5, 5]
    write(tmp_path, content)
    cfg = config(tmp_path, on_bad_sample="skip")
    build_dataset(cfg, "val", with_masks=True, seed=0)
    assert "no image has an instance to evaluate by; left out were 2 x negative box" in caplog.text


def test_the_headers_of_the_images_in_use_are_read_unless_turned_off(tmp_path, caplog):
    file, folder = write(tmp_path, good())
    (folder / "b.png").write_bytes(b"x")
    for split in ("train", "val"):
        with pytest.raises(DataError, match="1 of 2 images cannot be used; .*skip") as caught:
            build_dataset(config(tmp_path), split, with_masks=True, seed=0)
        assert f"  {folder}/b.png: not an image" in str(caught.value)
    limited = {"images": "images", "annotations": "annotations.json", "limit": 1}
    build_dataset(config(tmp_path, train=limited), "train", with_masks=True, seed=0)
    build_dataset(config(tmp_path, check_images=False), "val", with_masks=True, seed=0)
    assert "cannot be read" not in caplog.text
    lenient = build_dataset(config(tmp_path, on_bad_sample="skip"), "val", with_masks=True, seed=0)
    assert "1 of 2 images cannot be used and are left out" in caplog.text
    # Its place in the order stays: turning the check off does not change what is trained on.
    assert len(lenient) == 2 and "b.png: not an image" in lenient.skipped[0]


@pytest.mark.parametrize("bit_depth", ["auto", 16])
def test_images_of_twelve_bits_are_not_black(tmp_path, caplog, bit_depth):
    _, folder = write(tmp_path, good())
    values = np.zeros((30, 40), dtype=np.uint16)
    for name, largest in (("a.png", 4095), ("b.png", 600)):
        values[0, 0] = largest
        Image.fromarray(values).save(folder / name)
    dataset = build_dataset(config(tmp_path, bit_depth=bit_depth), "val", with_masks=True, seed=0)
    found = [int(dataset._read(index).image.max()) for index in (0, 1)]
    assert found == ([255, 37] if bit_depth == "auto" else [16, 2])
    said = "4095, so 12 bits are" if bit_depth == "auto" else "4095; 16 bits are"
    assert f"their largest value is {said} taken as the range" in caplog.text


def test_a_limit_takes_the_first_images_by_id(tmp_path):
    write_many(tmp_path, [(30, 40)] * 5)
    split = {"images": "images", "annotations": "annotations.json", "limit": 3}
    dataset = build_dataset(config(tmp_path, train=split), "train", with_masks=True, seed=0)
    assert dataset.image_ids == (1, 2, 3) and len(dataset) == 3
    assert dataset.folder == tmp_path / "images"


def test_what_was_dropped_is_logged_in_one_line(tmp_path, caplog):
    content = good()
    content["annotations"][0]["bbox"] = [5, 5, 0, 3]
    write(tmp_path, content)
    dataset = build_dataset(config(tmp_path), "train", with_masks=True, seed=0)
    assert "left out or clipped 1 x box without area" in caplog.text
    assert len(dataset.defects.dropped) == 1


def test_the_batch_must_divide(tmp_path):
    write_many(tmp_path, [(30, 40)] * 5)
    cfg = config(tmp_path)
    dataset = build_dataset(cfg, "train", with_masks=True, seed=0)
    with pytest.raises(
        ConfigError, match="batch_size is 6, expected a multiple of 4: 2 ranks x 2 micro-batches"
    ):
        build_train_loader(cfg, dataset, batch_size=6, seed=0, accumulate=2, world_size=2)


def test_shapes_are_drawn_where_the_configuration_says(tmp_path):
    cfg = config(
        tmp_path / "shapes", shapes={"train_images": 3, "val_images": 2, "image_size": 64}
    ).model_copy(update={"keep_empty": True})
    split = cfg.train.model_copy(update={"images": "more", "annotations": "more.json"})
    cfg = cfg.model_copy(update={"val": split})
    draw_shapes_dataset(cfg)
    assert len(build_dataset(cfg, "train", with_masks=True, seed=0)) == 3
    assert len(build_dataset(cfg, "val", with_masks=True, seed=0)) == 2
    with pytest.raises(ConfigError, match="data.shapes is not set"):
        draw_shapes_dataset(config(tmp_path))


def real(coco_mini, **changes):
    return DataConfig.model_validate({"root": str(coco_mini), "workers": 0} | changes)


def test_a_real_batch_has_the_sizes_of_the_configuration(coco_mini):
    cfg = real(coco_mini)
    dataset = build_dataset(cfg, "train", with_masks=True, seed=0)
    loader = build_train_loader(cfg, dataset, batch_size=2, seed=0, size_divisor=32)
    batch = next(iter(loader))
    for height, width in batch.sizes.tolist():
        assert min(height, width) in cfg.min_sizes or max(height, width) == cfg.max_size
    assert all(side % 32 == 0 for side in batch.images.shape[2:])
    boxes = batch.targets.boxes[batch.targets.valid]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0
    landscape = batch.sizes[:, 1] > batch.sizes[:, 0]
    assert landscape.all() or not landscape.any()


def test_classes_without_instances_are_named(tmp_path, caplog):
    """Roboflow's category 0 is one, if its name is no other category's."""
    content = good()
    content["categories"].append({"id": 0, "name": "shapes"})
    write(tmp_path, content)
    build_dataset(config(tmp_path), "train", with_masks=True, seed=0)
    assert "1 of 3 classes without an instance to train on: shapes" in caplog.text


def test_crowds_alone_are_nothing_to_evaluate_by(tmp_path, caplog):
    content = good()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    write(tmp_path, content)
    build_dataset(config(tmp_path), "val", with_masks=True, seed=0)
    assert "no image has an instance to evaluate by; left out were 2 x crowd region" in caplog.text


def test_files_that_are_missing_are_named_together_before_any_is_read(tmp_path):
    write(tmp_path, good())
    (tmp_path / "train.json").write_text("not read")
    val = {"images": "absent", "annotations": "absent.json"}
    train = {"images": "images", "annotations": "train.json"}
    cfg = config(tmp_path, train=train, val=val)
    with pytest.raises(DataError) as caught:
        check_coco_files(cfg)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/absent.json: no such annotation file; check data.root; {tmp_path} has "
        "annotations.json, train.json",
        f"{tmp_path}/absent: no such image folder; check data.root",
    ]
    check_coco_files(cfg, ["train"])
    with pytest.raises(DataError, match="no such annotation file"):
        check_coco_files(config(tmp_path / ("long" * 1000)))
    check_coco_files(config(tmp_path / "absent", shapes={"train_images": 1, "val_images": 1}))
