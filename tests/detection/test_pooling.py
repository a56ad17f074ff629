"""Pooling from a pyramid against torchvision's kernel, level by level."""

import math

import numpy as np
import pytest
import torch
import torchvision

from resnet_backbone.detection.pooling import MultiLevelRoIAlign

STRIDES = (4, 8, 16, 32)


def square(side):
    return [10.0, 20.0, 10.0 + side, 20.0 + side]


@pytest.mark.parametrize(
    ("side", "level"),
    [
        (0.0, 0),
        (1.0, 0),
        (111.9, 0),
        (112.0, 1),
        (223.9, 1),
        (224.0, 2),
        (447.9, 2),
        (448.0, 3),
        (5000.0, 3),
    ],
)
def test_a_regions_level_at_the_boundaries(side, level):
    pooler = MultiLevelRoIAlign(7, STRIDES)
    assert pooler._levels(torch.tensor([square(side)])).tolist() == [level]


# Rounding steps of float32 from each boundary; detectron2 (modeling/poolers.py,
# `assign_boxes_to_levels`) adds 4 to the logarithm in float32, which swallows the first one.
STEPS = (-5, -1, 0, 1)


@pytest.mark.parametrize("corner", [0.0, 37.25])
def test_levels_next_to_the_boundaries_are_detectron2s(corner):
    boxes = []
    for side in (112.0, 224.0, 448.0):
        steps = np.float32(side).view(np.int32) + np.array(STEPS, dtype=np.int32)
        boxes += [[corner, corner, corner + s, corner + s] for s in steps.view(np.float32).tolist()]
    boxes = torch.tensor(boxes)
    found = MultiLevelRoIAlign(7, STRIDES)._levels(boxes).tolist()
    sides = (boxes[:, 2] - boxes[:, 0]).numpy()
    logarithms = np.log2(np.sqrt(sides * sides) / np.float32(224) + np.float32(1e-8))
    assert found == [int(level) - 2 for level in np.floor(np.float32(4) + logarithms)]
    assert found[STEPS.index(-1)] == 1, "one rounding step below 112 belongs to the level above"


def test_levels_next_to_the_boundaries_are_detectron2s_own():
    pytest.importorskip("detectron2", reason="detectron2 is not on PYTHONPATH; see README")
    from detectron2.modeling.poolers import assign_boxes_to_levels
    from detectron2.structures import Boxes

    sides = torch.tensor([112.0, 224.0, 448.0]).view(torch.int32)[:, None] + torch.arange(
        -20, 20, dtype=torch.int32
    )
    side = sides.view(torch.float32).flatten()
    boxes = torch.stack((side * 0, side * 0, side, side), dim=1)
    expected = assign_boxes_to_levels([Boxes(boxes)], 2, 5, 224, 4)
    assert torch.equal(MultiLevelRoIAlign(7, STRIDES)._levels(boxes), expected)


def test_a_regions_level_is_equation_1_of_the_fpn_paper():
    sizes = torch.rand(500, 2) * 900 + 1
    boxes = torch.cat((torch.zeros(500, 2), sizes), dim=1)
    expected = [
        min(max(math.floor(4 + math.log2(math.sqrt(w * h) / 224)), 2), 5) - 2
        for w, h in sizes.double().tolist()
    ]
    assert MultiLevelRoIAlign(7, STRIDES)._levels(boxes).tolist() == expected


def regions(count=40):
    size = torch.rand(count, 1) ** 2 * 600 + torch.rand(count, 2) * 30
    corner = torch.rand(count, 2) * 200 - 20
    boxes = torch.cat((corner, corner + size), dim=1)
    boxes[3] = 0.0  # padding
    return boxes, torch.randint(0, 2, (count,))


def pyramid():
    return [torch.randn(2, 3, 256 // s, 320 // s, requires_grad=True) for s in STRIDES]


def test_equals_torchvisions_kernel_on_each_regions_own_level():
    features = pyramid()
    boxes, images = regions()
    pooler = MultiLevelRoIAlign(5, STRIDES)
    levels = pooler._levels(boxes).tolist()
    assert set(levels) == {0, 1, 2, 3}
    found = pooler(features, boxes, images)
    assert (found[3] == 0).all()
    for row, level in enumerate(levels):
        roi = torch.cat((images[row : row + 1, None], boxes[row : row + 1]), dim=1)
        expected = torchvision.ops.roi_align(
            features[level], roi, 5, 1 / STRIDES[level], 0, aligned=True
        )
        # Positions of up to 80 cells are rounded to 8e-6, features change by about 3 per cell.
        torch.testing.assert_close(found[row], expected[0], atol=1e-4, rtol=1e-4)


def test_pooling_all_equals_pooling_the_selected():
    """What a GPU does, run here: regions of other levels shrink to nothing and add nothing."""
    features = pyramid()
    boxes, images = regions()
    pooler = MultiLevelRoIAlign(5, STRIDES)
    rois = torch.cat((images[:, None].float(), boxes), dim=1)
    levels = pooler._levels(boxes)
    everything = pooler._pool_all(features, rois, levels)
    selected = pooler._pool_selected(features, rois, levels)
    torch.testing.assert_close(everything, selected)
    weights = torch.randn_like(selected)
    ours = torch.autograd.grad((everything * weights).sum(), features)
    theirs = torch.autograd.grad((selected * weights).sum(), features)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_single_map_serves_regions_of_every_size():
    feature = torch.randn(2, 3, 16, 20)
    boxes, images = regions()
    rois = torch.cat((images[:, None].float(), boxes), dim=1)
    found = MultiLevelRoIAlign(7, [16])([feature], boxes, images)
    expected = torchvision.ops.roi_align(feature, rois, 7, 1 / 16, 0, aligned=True)
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)


def test_no_regions():
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    assert MultiLevelRoIAlign(7, STRIDES)(pyramid(), *nothing).shape == (0, 3, 7, 7)
