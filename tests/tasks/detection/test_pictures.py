from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_rcnn import CLASS_NAMES, SIDE, Seer, tiny_batch, tiny_detector

from resnet_backbone.errors import StorageError
from resnet_backbone.tasks.detection.pictures import (
    save_picture,
    true_detections,
    write_pictures,
)
from resnet_backbone.utils.own_files import OwnFiles

CPU = torch.device("cpu")


def run(folder):
    return OwnFiles(folder, "run")


def test_as_many_pictures_as_asked_for_and_no_more_batches_read(tmp_path):
    def batches():
        yield tiny_batch([1, 2])
        yield tiny_batch([3, 4])
        pytest.fail("read more than needed")

    model = Seer().train()
    files = write_pictures(model, batches(), CLASS_NAMES, run(tmp_path), CPU, count=3)
    assert files == [tmp_path / "pictures" / name for name in ("1.jpg", "2.jpg", "3.jpg")]
    assert model.training
    for file in files:
        with Image.open(file) as picture:
            assert picture.width > 2 * picture.height * 0.9  # two panels


def test_without_ground_truth_there_is_one_panel(tmp_path):
    batch = replace(tiny_batch([1]), targets=None)
    (file,) = write_pictures(
        Seer(), [batch], CLASS_NAMES, run(tmp_path), CPU, count=8, threshold=0.0
    )
    with Image.open(file) as picture:
        assert picture.width == picture.height


def test_a_real_detector(tmp_path):
    files = write_pictures(
        tiny_detector(), [tiny_batch([1])], CLASS_NAMES, run(tmp_path), CPU, count=1, threshold=0.1
    )
    assert len(files) == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "pictures").write_text("")
    with pytest.raises(StorageError, match="cannot write the picture"):
        write_pictures(Seer(), [tiny_batch([1])], CLASS_NAMES, run(tmp_path), CPU, count=1)


def test_pictures_of_others_are_not_replaced(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_text("my holiday")
    for _ in range(2):  # the second time the first picture is our own
        (file,) = write_pictures(
            Seer(), [tiny_batch([1])], CLASS_NAMES, run(tmp_path), CPU, count=1
        )
        assert file == tmp_path / "pictures" / "1_2.jpg"
    assert (tmp_path / "pictures" / "1.jpg").read_text() == "my holiday"


def test_a_picture_with_more_pixels_on_a_side_than_jpeg_allows_is_scaled_down(tmp_path, caplog):
    save_picture(Image.new("RGB", (70_000, 2)), tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.size == (65_500, 2)
    assert "scaled down from 70000 x 2 pixels" in caplog.text


def test_truth_has_the_boxes_and_masks_of_the_targets():
    batch = tiny_batch([1, 2])
    batch = replace(batch, original_sizes=[(SIDE, SIDE)] * 2)
    bitmap = np.zeros((SIDE, SIDE), dtype=bool)
    bitmap[3:5] = True
    masks = [batch.targets.masks[0], [bitmap]]
    batch = replace(batch, targets=replace(batch.targets, masks=masks))
    polygon, run_length = (true_detections(batch, index) for index in range(2))
    assert polygon.boxes.tolist() == [[8, 8, 40, 40]]
    assert polygon.masks[0, 8:40, 8:40].all() and polygon.masks.sum() == 32 * 32
    assert torch.equal(run_length.masks[0], torch.from_numpy(bitmap))


def test_truth_of_an_image_without_instances():
    batch = tiny_batch([1])
    empty = replace(batch.targets, valid=torch.zeros(1, 1, dtype=torch.bool), masks=[[]])
    batch = replace(batch, original_sizes=[(SIDE, SIDE)], targets=empty)
    truth = true_detections(batch, 0)
    assert len(truth) == 0
    assert truth.masks.shape == (0, SIDE, SIDE)


def test_faster_rcnn_is_drawn_beside_truth_without_masks(tmp_path):
    batch = tiny_batch([1])
    batch = replace(batch, targets=replace(batch.targets, masks=()))
    assert true_detections(batch, 0).masks is None
    assert write_pictures(Seer(), [batch], CLASS_NAMES, run(tmp_path), CPU, count=1)
