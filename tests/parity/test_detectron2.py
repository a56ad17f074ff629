"""Our detectors against detectron2's own, with equal weights and inputs."""

from __future__ import annotations

from copy import deepcopy

import peers
import pytest
from parity_cases import CASES, Case, assert_same, our_losses, our_numbers

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2_numbers import CONFIGS, suppress_in_float64, their_losses, their_numbers

from resnet_backbone.weights.layouts import from_ours

LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def pair(case: Case):
    ours = case.model()
    return ours, peers.build_detectron2(case.name, ours, str(CONFIGS), case.options)


def test_inference_equals_detectron2(case, pair):
    ours, theirs = pair
    batch = case.batch(ours)
    expected = their_numbers(theirs, peers.detectron2_inputs(batch, training=False))

    assert_same(our_numbers(ours, batch), expected)
    # The comparison is worth something only where there is much to compare.
    assert all(len(expected[f"proposals/{row}"]) >= 200 for row in range(2))
    assert all(len(expected[f"boxes/{row}"]) >= 20 for row in range(2))


def test_training_losses_equal_detectron2(case, pair):
    ours, theirs = pair
    batch = case.batch(ours)
    losses = our_losses(ours, batch)
    expected = their_losses(theirs, peers.detectron2_inputs(batch, training=True))

    assert set(losses) == set(expected) <= LOSSES
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4), name


def test_gradients_equal_detectron2(case, pair):
    # In float64, because in float32 a sum in another order lets a ReLU switch: when its weights
    # change by one rounding, detectron2's own gradients move by up to 6.6e-4 of their norm.
    ours, theirs = (deepcopy(model).double() for model in pair)
    batch = case.batch(ours)
    losses = our_losses(ours, batch)
    with suppress_in_float64():
        expected = their_losses(theirs, peers.detectron2_inputs(batch, training=True))

    sum(losses.values()).backward()
    sum(expected.values()).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    renamed = from_ours(gradients, "detectron2", "detector")
    own = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert set(renamed) == set(own)
    for name, gradient in own.items():
        error = renamed[name] - gradient
        # Both compute boxes and some losses in float32, hence not 1e-12; 2.4e-6 was seen.
        assert error.norm() <= 1e-5 * gradient.norm(), name
