"""Rasterising and pasting against pycocotools and grid_sample."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from resnet_backbone.detection import masks as masks_module
from resnet_backbone.detection.masks import paste, rasterize


def test_a_box_shaped_polygon_fills_its_square():
    polygon = np.array([[10.0, 20], [50, 20], [50, 40], [10, 40]])
    found = rasterize([[polygon]], torch.tensor([[10.0, 20, 50, 40]]), 28)
    assert found.all()


def test_polygons_of_an_instance_are_united_as_pycocotools_does():
    rng = np.random.default_rng(0)
    polygons = [rng.uniform(0, 90, (7, 2)) for _ in range(3)]
    box = np.array([5.0, 10.0, 80.0, 70.0])
    moved = [((p - box[:2]) * 28 / (box[2:] - box[:2])).ravel().tolist() for p in polygons]
    union = np.any([coco_mask.decode(r) for r in coco_mask.frPyObjects(moved, 28, 28)], axis=0)
    found = rasterize([polygons], torch.tensor(box[None], dtype=torch.float32), 28)
    assert (found[0].numpy() == union).all()


def test_a_bitmap_is_resampled_and_agrees_with_its_polygon():
    polygon = np.array([[8.0, 8], [72, 16], [56, 60], [16, 48]])
    bitmap = coco_mask.decode(coco_mask.frPyObjects([polygon.ravel()], 80, 80))[..., 0].astype(bool)
    box = torch.tensor([[8.0, 8, 72, 60]])
    both = rasterize([[polygon], bitmap], box.expand(2, 4), 28)
    # They may differ along the outline, about 100 of 784 cells, by rounding to pixels.
    assert (both[0] != both[1]).sum() < 30


def reference_paste(mask, box, size):
    """Sampling at pixel centres, zeros outside, one instance at a time."""
    x0, y0, x1, y1 = box.tolist()
    x = (torch.arange(size[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(size[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    sampled = torch.nn.functional.grid_sample(mask[None, None], grid, align_corners=False)
    return sampled[0, 0] >= 0.5


@pytest.mark.parametrize("chunk", [2**22, 1])
def test_paste_equals_grid_sample(chunk, monkeypatch):
    monkeypatch.setattr(masks_module, "PASTE_CHUNK", chunk)
    probabilities = torch.rand(6, 28, 28)
    corner = torch.rand(6, 2) * 60 - 10
    boxes = torch.cat((corner, corner + torch.rand(6, 2) * 60 + 0.5), dim=1)
    found = paste(probabilities, boxes, (70, 90))
    expected = torch.stack(
        [reference_paste(m, b, (70, 90)) for m, b in zip(probabilities, boxes, strict=True)]
    )
    # A probability within rounding of the threshold may fall on either side.
    assert (found == expected).float().mean() > 0.9999


def test_nothing_to_paste():
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)


def test_half_covered_squares_are_half_full():
    left = np.array([[0.0, 0], [20, 0], [20, 40], [0, 40]])
    found = rasterize([[left]], torch.tensor([[0.0, 0, 40, 40]]), 28)[0]
    assert found[:, :14].all()
    assert not found[:, 14:].any()


def test_bitmaps_equal_bilinear_sampling_written_down():
    """One box that spans 2 x 2 pixels per cell: a cell is full where half its pixels are."""
    bitmap = np.random.default_rng(0).random((16, 16)) > 0.5
    found = rasterize([bitmap], torch.tensor([[2.0, 4, 10, 12]]), 4)[0]
    share = bitmap[4:12, 2:10].reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert (found.numpy() == (share >= 0.5)).all()


def test_a_mask_outside_its_box_leaves_nothing_and_boxes_without_area_do_no_harm():
    polygon = np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]])
    boxes = torch.tensor([[50.0, 50, 60, 60], [20.0, 20, 20, 20]])
    found = rasterize([[polygon], [polygon]], boxes, 28)
    assert not found[0].any()
    assert found.shape == (2, 28, 28)
    assert found.dtype == torch.bool


def test_nothing_to_rasterize():
    assert rasterize([], torch.zeros(0, 4), 28).shape == (0, 28, 28)


def test_a_full_square_fills_the_pixels_whose_centres_lie_in_its_box():
    found = paste(torch.ones(1, 28, 28), torch.tensor([[3.0, 2, 10, 7]]), (12, 16))[0]
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[2:7, 3:10] = True
    assert torch.equal(found, expected)


def test_boxes_without_area_paste_nothing_that_is_not_a_number():
    found = paste(torch.ones(2, 28, 28), torch.tensor([[5.0, 5, 5, 5], [3, 3, 9, 3]]), (12, 16))
    assert not found.any()
