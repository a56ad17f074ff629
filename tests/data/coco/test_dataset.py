"""Samples: functions of seed, epoch and position that agree with the annotation file."""

import json

import numpy as np
import pytest
import torch
from coco_files import HEIGHT, WIDTH, good, write
from PIL import Image
from pycocotools import mask as coco_mask

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.annotations import load_annotations
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.data.coco.dataset import Augmentation, CocoDataset
from resnet_backbone.errors import DataError

RLE = {"size": [HEIGHT, WIDTH], "counts": [200, 10, HEIGHT * WIDTH - 210]}
STILL = Augmentation(short_sides=(HEIGHT,), max_side=1000, flip=0.0)
MOVING = Augmentation(short_sides=(21, 33, 47), max_side=60, flip=0.5)


def dataset(tmp_path, content=None, selected=None, *, augmentation=STILL, seed=0, **options):
    file, folder = write(tmp_path, content or good())
    annotations = load_annotations(file, folder, with_masks=True)
    return CocoDataset(
        file,
        folder,
        annotations,
        range(len(annotations.images)) if selected is None else selected,
        with_masks=options.pop("with_masks", True),
        augmentation=augmentation,
        test_size=options.pop("test_size", (HEIGHT, 1000)),
        seed=seed,
        **options,
    )


def test_a_test_sample_is_the_file_and_the_image(tmp_path):
    data = dataset(tmp_path)
    sample = data.test_sample(1)
    pixels = np.asarray(Image.open(tmp_path / "images" / "b.png"))
    np.testing.assert_array_equal(sample.image.permute(1, 2, 0), pixels)
    assert (sample.image_id, sample.key, sample.original_size) == (2, 2, (HEIGHT, WIDTH))
    # x, y, width and height of 5, 5, 10 and 10; category 3 is the first of 3 and 7.
    assert sample.boxes.tolist() == [[5, 5, 15, 15]] and sample.classes.tolist() == [0]
    assert (sample.boxes.dtype, sample.classes.dtype) == (torch.float32, torch.int64)
    ((polygon,),) = sample.masks
    assert polygon.tolist() == [[5, 5], [15, 5], [15, 15], [5, 15]]


def test_an_original_sample_is_as_large_as_its_file_with_boxes_to_match(tmp_path):
    sample = dataset(tmp_path, test_size=(60, 70)).original_sample(1)
    pixels = np.asarray(Image.open(tmp_path / "images" / "b.png"))
    np.testing.assert_array_equal(sample.image.permute(1, 2, 0), pixels)
    assert sample.boxes.tolist() == [[5, 5, 15, 15]]
    ((polygon,),) = sample.masks
    assert polygon.tolist() == [[5, 5], [15, 5], [15, 15], [5, 15]]


def test_what_it_says_of_itself(tmp_path):
    content = good()
    content["images"][1] |= {"width": HEIGHT, "height": WIDTH}
    data = dataset(tmp_path, content)
    assert len(data) == 2 and data.image_ids == (1, 2)
    assert (data.class_names, data.category_ids) == (("three", "seven"), (3, 7))
    assert data.landscape.tolist() == [True, False] and data.landscape.dtype == bool
    assert data.description == str(tmp_path / "annotations.json")


def test_images_are_those_selected_in_their_order(tmp_path):
    data = dataset(tmp_path, selected=[1])
    assert len(data) == 1 and data.image_ids == (2,)
    assert data.test_sample(0).image_id == 2
    assert dataset(tmp_path, selected=[1, 0]).image_ids == (2, 1)


def test_crowds_are_no_instances_and_rles_become_bitmaps(tmp_path):
    content = good()
    first = content["annotations"][0]
    content["annotations"] += [
        first | {"id": 50, "segmentation": RLE, "bbox": [6, 20, 1, 10]},
        first | {"id": 51, "segmentation": RLE, "bbox": [6, 20, 1, 10], "iscrowd": 1},
    ]
    sample = dataset(tmp_path, content).test_sample(0)
    assert len(sample.boxes) == len(sample.masks) == 2
    expected = np.zeros(HEIGHT * WIDTH, dtype=bool)
    expected[200:210] = True  # COCO counts down the columns
    np.testing.assert_array_equal(sample.masks[1], expected.reshape(WIDTH, HEIGHT).T)
    assert sample.masks[1].dtype == bool


def test_without_masks_there_are_none(tmp_path):
    sample = dataset(tmp_path, with_masks=False).test_sample(0)
    assert len(sample.boxes) == 1 and len(sample.masks) == 0


def test_an_image_without_instances_has_empty_targets(tmp_path):
    sample = dataset(tmp_path, good() | {"annotations": []}).test_sample(0)
    assert sample.boxes.shape == (0, 4) and sample.classes.shape == (0,)
    assert (sample.boxes.dtype, sample.classes.dtype) == (torch.float32, torch.int64)


def test_training_samples_are_functions_of_seed_epoch_and_position(tmp_path):
    def made(seed=3, epoch=2, position=7):
        sample = dataset(tmp_path, augmentation=MOVING, seed=seed)
        return sample.training_sample(0, epoch, position)

    one, again = made(), made()
    assert torch.equal(one.image, again.image) and torch.equal(one.boxes, again.boxes)
    assert one.key == again.key
    others = [made(seed=4), made(epoch=3), made(position=8)]
    assert len({one.key, *(other.key for other in others)}) == 4
    assert all(0 <= sample.key < 2**63 for sample in (one, *others))


def test_positions_differ_in_size_and_in_direction(tmp_path):
    data = dataset(tmp_path, augmentation=MOVING)
    samples = [data.training_sample(0, 0, position) for position in range(30)]
    heights = {sample.image.shape[1] for sample in samples}
    assert heights == {21, 33, 45}  # of 47, the long side would pass 60
    lefts = {round(float(s.boxes[0, 0] / s.image.shape[2]), 3) for s in samples}
    # The square begins 5 pixels from the left of 40, or, mirrored, 25; sizes are whole pixels.
    assert {round(left, 1) for left in lefts} == {0.1, 0.6}
    assert {sample.original_size for sample in samples} == {(HEIGHT, WIDTH)}


def test_a_flip_turns_image_box_and_outline_together(tmp_path):
    turned = dataset(tmp_path, augmentation=Augmentation((HEIGHT,), 1000, 1.0))
    still, sample = dataset(tmp_path).test_sample(0), turned.training_sample(0, 0, 0)
    assert torch.equal(sample.image, still.image.flip(2))
    assert sample.boxes.tolist() == [[WIDTH - 15, 5, WIDTH - 5, 15]]
    assert sample.masks[0][0][:, 0].tolist() == [WIDTH - 5, WIDTH - 15, WIDTH - 15, WIDTH - 5]


def test_test_samples_have_the_size_of_tests(tmp_path):
    sample = dataset(tmp_path, test_size=(60, 70)).test_sample(0)
    assert sample.image.shape == (3, 53, 70)  # 80 would pass 70
    assert sample.original_size == (HEIGHT, WIDTH)
    # Sides are whole pixels: 53 for 52.5.
    expected = torch.tensor([[5 * 70 / 40, 5 * 53 / 30, 15 * 70 / 40, 15 * 53 / 30]])
    torch.testing.assert_close(sample.boxes, expected)


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path):
    content = good()
    content["images"][0] |= {"width": WIDTH + 1}
    data = dataset(tmp_path, content)
    with pytest.raises(DataError, match=r"a\.png: 40 x 30 pixels, but the annotations say 41 x 30"):
        data.test_sample(0)


def test_a_large_image_is_refused_unread(tmp_path):
    data = dataset(tmp_path, max_pixels=HEIGHT * WIDTH - 1)
    for read in (lambda: data.test_sample(0), lambda: data.training_sample(0, 0, 0)):
        with pytest.raises(DataError, match=r"a\.png: "):
            read()
    assert dataset(tmp_path, max_pixels=HEIGHT * WIDTH).test_sample(0).image_id == 1


def real(coco_mini, **changes):
    return DataConfig.model_validate({"root": str(coco_mini), "workers": 0} | changes)


def test_real_images_make_samples_that_agree_with_the_file(coco_mini):
    """At the original size, targets are the file's own numbers and masks its own areas."""
    cfg = real(coco_mini)
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    content = json.loads(dataset.annotations.read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    for index in range(0, len(dataset), 8):
        sample = dataset._read(index)
        image_id = dataset.image_ids[index]
        expected = [
            a for a in content["annotations"] if a["image_id"] == image_id and not a["iscrowd"]
        ]
        assert len(expected) == len(sample.boxes) == len(sample.masks)
        for annotation, box, label, mask in zip(
            expected, sample.boxes, sample.classes, sample.masks, strict=True
        ):
            x, y, width, height = annotation["bbox"]
            # Two decimals in the file, and clipped where they pass the border.
            np.testing.assert_allclose(box, [x, y, x + width, y + height], atol=0.02)
            assert dataset.class_names[label] == names[annotation["category_id"]]
            flat = [corners.ravel().tolist() for corners in mask]
            assert flat == annotation["segmentation"]
            rle = coco_mask.merge(coco_mask.frPyObjects(flat, *sample.image.shape[1:]))
            assert coco_mask.area(rle) == pytest.approx(annotation["area"], rel=0.3, abs=60)
