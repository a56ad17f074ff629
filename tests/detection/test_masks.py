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
