"""Grouped suppression against torchvision's."""

import torch
import torchvision
from hypothesis import given, settings
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
