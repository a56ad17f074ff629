"""Our detectors against detectron2's own, with equal weights and inputs."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import peers
import pytest
import torch
from parity_cases import CASES, Case, assert_same, our_losses, our_numbers

detectron2 = pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
CONFIGS = Path(detectron2.__file__).parents[1] / "configs"
LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def pair(case: Case):
    ours = case.model()
    return ours, peers.build_detectron2(case.name, ours, str(CONFIGS), case.options)


@torch.no_grad()
def their_numbers(model, batch) -> dict[str, np.ndarray]:
    model.eval()
    inputs = peers.detectron2_inputs(batch, training=False)
    images = model.preprocess_image(inputs)
    maps = model.backbone(images.tensor)
    features = getattr(model.backbone, "bottom_up", model.backbone)(images.tensor)
    generator = model.proposal_generator
    proposals, _ = generator(images, maps)
    anchors = generator.anchor_generator([maps[name] for name in generator.in_features])
    numbers = {f"feature/{name}": feature.numpy() for name, feature in features.items()}
    numbers |= {f"anchors/{i}": boxes.tensor.numpy() for i, boxes in enumerate(anchors)}
    for row, (found, proposed) in enumerate(zip(model(inputs), proposals, strict=True)):
        instances = found["instances"]
        numbers[f"proposals/{row}"] = proposed.proposal_boxes.tensor.numpy()
        numbers[f"objectness/{row}"] = proposed.objectness_logits.numpy()
        numbers[f"boxes/{row}"] = instances.pred_boxes.tensor.numpy()
        numbers[f"scores/{row}"] = instances.scores.numpy()
        numbers[f"classes/{row}"] = instances.pred_classes.numpy()
        if instances.has("pred_masks"):
            numbers[f"masks/{row}"] = instances.pred_masks.numpy()
    return numbers


def lowest_indices(labels, num_samples, positive_fraction, bg_label):
    """Stands in for detectron2's subsample_labels: the same candidates as `lowest_first`."""
    positive = torch.nonzero((labels != -1) & (labels != bg_label))[:, 0]
    negative = torch.nonzero(labels == bg_label)[:, 0]
    count = min(len(positive), int(num_samples * positive_fraction))
    return positive[:count], negative[: num_samples - count]


def their_losses(model, batch) -> dict[str, torch.Tensor]:
    from detectron2.utils.events import EventStorage

    rpn = "detectron2.modeling.proposal_generator.rpn.subsample_labels"
    heads = "detectron2.modeling.roi_heads.roi_heads.subsample_labels"
    with EventStorage(0), mock.patch(rpn, lowest_indices), mock.patch(heads, lowest_indices):
        return model.train()(peers.detectron2_inputs(batch, training=True))


def test_inference_equals_detectron2(case, pair):
    ours, theirs = pair
    batch = case.batch()
    numbers, expected = our_numbers(ours, batch), their_numbers(theirs, batch)

    assert_same(numbers, expected)
    # The comparison is worth something only where there is much to compare.
    assert all(len(expected[f"proposals/{row}"]) >= 200 for row in range(2))
    assert all(len(expected[f"boxes/{row}"]) >= 20 for row in range(2))


def test_training_losses_and_gradients_equal_detectron2(case, pair):
    ours, theirs = pair
    batch = case.batch()
    losses, expected = our_losses(ours, batch), their_losses(theirs, batch)

    assert set(losses) == set(expected) <= LOSSES
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4), name

    sum(losses.values()).backward()
    sum(expected.values()).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    renamed = peers.to_detectron2(gradients, pyramid="neck.lateral.res2.weight")
    own = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    assert set(renamed) == set(own)
    for name, gradient in own.items():
        scale = gradient.abs().max().item()
        # Sums over a million terms in another order: 1e-3 of the largest entry.
        assert (renamed[name] - gradient).abs().max().item() <= 1e-3 * scale, name
