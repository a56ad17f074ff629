import json

import numpy as np
import pytest
from coco_files import SQUARE, good, write
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.annotations import load_annotations


@pytest.fixture
def packed(tmp_path):
    content = good()
    first, second = content["annotations"]
    rle = {"size": [30, 40], "counts": [200, 10, 990]}
    content["annotations"] = [
        second,
        first | {"id": 1, "segmentation": [SQUARE, [1, 1, 4, 1, 4, 4]]},
        first | {"id": 2, "segmentation": rle, "bbox": [6, 20, 1, 10]},
        first | {"id": 3, "segmentation": rle, "bbox": [6, 20, 1, 10], "iscrowd": 1},
        first | {"id": 4, "segmentation": [[2, 2, 8, 2, 8, 8]]},
    ]
    content["images"].reverse()
    return load_annotations(*write(tmp_path, content), with_masks=True)


def test_instances_are_found_by_image_and_crowds_left_out(packed):
    assert [image.id for image in packed.images] == [1, 2]
    assert packed.instances(0).tolist() == [0, 1, 3]
    assert packed.crowd.tolist() == [False, False, True, False, False]
    assert packed.instances(1).tolist() == [4]


def test_outlines_are_unpacked_as_they_were(packed):
    square, triangle = packed.segmentation(0)
    assert square.ravel().tolist() == SQUARE
    assert triangle.tolist() == [[1, 1], [4, 1], [4, 4]]
    assert packed.segmentation(1)["size"] == [30, 40]
    assert packed.segmentation(3)[0].tolist() == [[2, 2], [8, 2], [8, 8]]
    assert packed.segmentation(4)[0].ravel().tolist() == SQUARE


def test_types(packed):
    assert packed.boxes.dtype == np.float32 and packed.boxes.shape == (5, 4)
    assert packed.classes.dtype == np.int64
    assert packed.boxes[0].tolist() == [5, 5, 15, 15]


@pytest.mark.parametrize(
    ("split", "images", "instances", "crowds"),
    [("train2017", 80, 739, 8), ("val2017", 79, 624, 5)],
)
def test_real_coco_is_read_whole(coco_mini, split, images, instances, crowds):
    """The counts are those of the files, taken by hand."""
    file = coco_mini / "annotations" / f"instances_{split}.json"
    packed = load_annotations(file, coco_mini / split, with_masks=True)
    assert len(packed.images) == images
    assert len(packed.boxes) == instances
    assert packed.crowd.sum() == crowds == len(packed.rles)
    assert len(packed.class_names) == 80
    assert (packed.class_names[0], packed.category_ids[79]) == ("person", 90)
    assert packed.report.fatal == packed.report.dropped == []
    assert (packed.boxes[:, 2:] > packed.boxes[:, :2]).all()


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_what_the_evaluation_is_to_see_is_what_the_file_says(coco_mini, split):
    """Every number, and every outline pixel for pixel; in the order of the file."""
    file = coco_mini / "annotations" / f"instances_{split}.json"
    packed = load_annotations(file, coco_mini / split, with_masks=False)
    found = packed.to_coco(range(len(packed.images)))
    expected = json.loads(file.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in expected["images"]}
    assert {image["id"]: (image["height"], image["width"]) for image in found["images"]} == sizes
    names = {category["id"]: category["name"] for category in expected["categories"]}
    assert {category["id"]: category["name"] for category in found["categories"]} == names
    expected["annotations"].sort(key=lambda annotation: annotation["image_id"])
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    for ours, theirs in zip(found["annotations"], expected["annotations"], strict=True):
        assert [ours[key] for key in keys] == [theirs[key] for key in keys]
        masks = [
            coco_mask.decode(rle(record["segmentation"], *sizes[record["image_id"]]))
            for record in (ours, theirs)
        ]
        assert np.array_equal(*masks)


def rle(outline, height, width):
    """pycocotools' own conversion (COCO.annToRLE)."""
    if isinstance(outline, list):
        return coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    if isinstance(outline["counts"], list):
        return coco_mask.frPyObjects(outline, height, width)
    return outline


def test_only_the_images_asked_for_are_told(packed):
    content = packed.to_coco([1])
    assert [image["id"] for image in content["images"]] == [2]
    (annotation,) = content["annotations"]
    assert annotation["image_id"] == 2 and annotation["segmentation"] == [SQUARE]
