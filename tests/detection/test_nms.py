"""Grouped suppression against torchvision's and against a greedy loop."""

import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resnet_backbone.detection.nms import _nms_by_offset, grouped_nms


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 5))
def test_equals_torchvision_with_either_strategy(seed, count, groups):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + torch.rand(count, 2, generator=generator) * 30 + 1), dim=1)
    scores = torch.rand(count, generator=generator)
    group = torch.randint(groups, (count,), generator=generator)
    expected = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, group, 0.5).sort().values
    for function in (grouped_nms, _nms_by_offset):
        assert torch.equal(function(boxes, scores, group, 0.5).sort().values, expected)


def test_many_groups_do_not_blur_coordinates():
    """Two boxes that overlap by 0.49 and 0.51 in the thousandth group stay apart and together."""
    boxes = torch.tensor([[0.0, 0, 100, 100], [34.3, 0, 134.3, 100], [0, 0, 100, 51]])
    group = torch.tensor([80_000] * 3)
    kept = _nms_by_offset(boxes, torch.tensor([0.9, 0.8, 0.7]), group, 0.5)
    assert kept.tolist() == [0, 1]


def greedy(boxes, scores, groups, threshold):
    """Best first; a box stays unless one that stayed before, of its group, overlaps it too much."""
    kept = []
    for index in scores.argsort(descending=True).tolist():
        rivals = [other for other in kept if groups[other] == groups[index]]
        overlaps = torchvision.ops.box_iou(
            boxes[index : index + 1].double(), boxes[rivals].double()
        )
        if not (overlaps > threshold).any():
            kept.append(index)
    return sorted(kept)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.7]))
def test_equals_a_greedy_loop(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    # Whole coordinates: overlaps are ratios of whole numbers, which 0, 0.3 and 0.7 seldom meet.
    corner = torch.randint(0, 20, (25, 2), generator=generator)
    side = torch.randint(1, 18, (25, 2), generator=generator)
    boxes = torch.cat((corner, corner + side), dim=1).float()
    scores = torch.rand(25, generator=generator)
    groups = torch.randint(3, (25,), generator=generator) * 7  # numbers need not be contiguous
    overlaps = torchvision.ops.box_iou(boxes.double(), boxes.double())
    assume(threshold == 0 or ((overlaps - threshold).abs() > 1e-6).all())
    expected = greedy(boxes, scores, groups, threshold)
    for function in (grouped_nms, _nms_by_offset):
        assert function(boxes, scores, groups, threshold).sort().values.tolist() == expected


@pytest.mark.parametrize("function", [grouped_nms, _nms_by_offset])
def test_nothing_in_nothing_out(function):
    none = torch.zeros(0, dtype=torch.int64)
    assert function(torch.zeros(0, 4), torch.zeros(0), none, 0.5).shape == (0,)


@pytest.mark.parametrize("function", [grouped_nms, _nms_by_offset])
def test_equal_boxes_of_different_groups_all_stay(function):
    boxes = torch.tensor([[-30.0, -5, 20, 40]]).expand(6, 4)
    kept = function(boxes, torch.rand(6), torch.arange(6), 0.0)
    assert kept.sort().values.tolist() == list(range(6))
