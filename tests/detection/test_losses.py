"""What the losses share, against sums written down."""

import math

import pytest
import torch

from resnet_backbone.detection import losses
from resnet_backbone.detection.losses import box_regression_loss, mean_over_ranks

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def test_the_sum_of_l1_distances_over_positives():
    anchors = torch.tensor([[[0.0, 0, 10, 20], [0, 0, 10, 10], [5, 5, 9, 9]]])
    targets = torch.tensor([[[1.0, 2, 11, 22], [0, 0, 20, 10], [0, 0, 1, 1]]])
    offsets = torch.tensor([[[0.5, 0, 0, 0], [0, 0, 0, 0], [7.0, 7, 7, 7]]])
    positive = torch.tensor([[True, True, False]])
    # First: the centre moves by (1, 2) of (10, 20), so the truth is (1, 1, 0, 0).
    # Second: the centre moves by 5 of 10 and the width doubles: (5, 0, 5 ln 2, 0).
    expected = (0.5 + 1.0) + (5.0 + 5 * math.log(2))
    found = box_regression_loss(offsets, anchors, targets, positive, WEIGHTS)
    assert found.ndim == 0
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_padding_without_size_gives_neither_loss_nor_gradient():
    offsets = torch.randn(2, 3, 4, requires_grad=True)
    nothing = torch.zeros(2, 3, 4)
    loss = box_regression_loss(
        offsets, nothing, nothing, torch.zeros(2, 3, dtype=torch.bool), WEIGHTS
    )
    loss.backward()
    assert loss == 0
    assert (offsets.grad == 0).all()


def test_half_precision_offsets_are_compared_in_float32():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    targets = torch.tensor([[0.0, 0, 10.01, 10]])
    found = box_regression_loss(
        torch.zeros(1, 4, dtype=torch.bfloat16), anchors, targets, torch.tensor([True]), WEIGHTS
    )
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0.005 + 5 * math.log(1.001), rel=1e-3)


def test_counts_of_a_lone_process_are_at_least_one():
    counts = torch.tensor([0, 3])
    assert mean_over_ranks(counts).tolist() == [1.0, 3.0]
    assert counts.tolist() == [0, 3]


def test_counts_are_averaged_over_ranks_and_bounded_in_sum(monkeypatch):
    """Two ranks, the other of which found [0, 5]: a rank that found none divides by 2.5."""
    other = torch.tensor([0.0, 5.0])
    monkeypatch.setattr(losses.distributed, "all_reduce_sum", lambda mine: mine.add_(other))
    monkeypatch.setattr(losses.distributed, "world_size", lambda: 2)
    assert mean_over_ranks(torch.tensor([0, 0])).tolist() == [0.5, 2.5]
