"""Images and annotations that a file has more than once."""

import copy

import pytest
from coco_files import good, write

from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.errors import DataError


def load(tmp_path, content, **options):
    return load_annotations(*write(tmp_path, content), with_masks=True, **options)


def listed_again(copies, *, annotated):
    """The first image under `copies` further ids, with or without its annotation."""
    content = good()
    for number in range(copies):
        image = content["images"][0] | {"id": 100 + number}
        content["images"].append(image)
        if annotated:
            again = {"id": 100 + number, "image_id": image["id"]}
            content["annotations"].append(copy.deepcopy(content["annotations"][0]) | again)
    return content


@pytest.mark.parametrize("skip", [False, True])
def test_an_entry_for_each_object_is_refused(tmp_path, skip):
    """No single record is at fault, so none can be left out."""
    content = listed_again(2, annotated=True)
    for annotation, x in zip(content["annotations"][2:], (12, 20), strict=True):
        annotation |= {"bbox": [x, 5, 10, 10]}
        annotation.pop("segmentation")
    content["annotations"][0].pop("segmentation")
    with pytest.raises(DataError) as caught:
        load(tmp_path, content, skip_bad_samples=skip)
    message = str(caught.value)
    assert "images 1, 100, 101 (a.png): image listed more than once: 3 entries, with 1 to 1" in (
        message
    )


def test_an_entry_without_the_annotations_of_the_other_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"images 1, 100 \(a.png\).* 0 to 1 annotations"):
        load(tmp_path, listed_again(1, annotated=False))


@pytest.mark.parametrize("spelling", ["a.png", "./a.png", "b/../a.png"])
def test_copies_that_agree_are_said(tmp_path, spelling):
    content = listed_again(1, annotated=True)
    content["images"][-1]["file_name"] = spelling
    found = load(tmp_path, content)
    assert len(found.images) == 3
    assert (
        "1 image file listed more than once, with the same annotations, such as a.png"
        in (found.report.notes[0])
    )


def test_annotations_that_repeat_another_one_are_counted_and_kept(tmp_path):
    content = good()
    first = content["annotations"][0]
    content["annotations"] += [first | {"id": 50}, first | {"id": 51}]
    content["annotations"].append(first | {"id": 52, "category_id": 3})  # one object, two classes
    content["annotations"].append(first | {"id": 53, "iscrowd": 1})
    found = load(tmp_path, content)
    assert len(found.boxes) == 6
    assert found.report.notes[-1].startswith("2 of 6 annotations repeat class and box of another")
