"""The proposal network against doing everything for every anchor, one image at a time."""

import math

import numpy as np
import pytest
import torch
import torchvision

from resnet_backbone.detection.anchors import AnchorGenerator
from resnet_backbone.detection.matching import random_order
from resnet_backbone.detection.rpn import RPN, SAMPLING_STREAM, Predictions
from resnet_backbone.structures import Targets

SHAPES = ((8, 12), (4, 6), (2, 3))
STRIDES = (8, 16, 32)
SIZES = torch.tensor([[64, 96], [40, 90]])


def rpn(**options):
    anchors = AnchorGenerator(STRIDES, [[16.0], [32.0], [64.0]], [0.5, 1.0, 2.0])
    defaults = {"pre_nms_topk": (80, 40), "post_nms_topk": (50, 30), "samples_per_image": 32}
    return RPN(4, anchors, **(defaults | options))


def predictions(made, seed=0):
    """Random objectness, and offsets that move boxes by about a third of their size."""
    generator = torch.Generator().manual_seed(seed)
    anchors = made.anchors([torch.zeros(2, 4, *shape) for shape in SHAPES])
    return Predictions(
        anchors,
        [torch.randn(2, len(a), generator=generator) for a in anchors],
        [torch.randn(2, len(a), 4, generator=generator) / 3 for a in anchors],
    )


def decode(offsets, anchors):
    """Equations 1 to 4 of R-CNN's appendix C."""
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, 2:] + anchors[:, :2]) / 2 + offsets[:, :2] * size
    size = size * np.exp(np.minimum(offsets[:, 2:], math.log(1000 / 16)))
    return np.concatenate((centre - size / 2, centre + size / 2), axis=1)


def reference_proposals(made, predicted, image, size, pre_nms, post_nms):
    """Decodes all, then per level the best, then suppression within levels, then the best."""
    boxes, scores, levels = [], [], []
    limit = [size[1], size[0], size[1], size[0]]
    for level, anchors in enumerate(predicted.anchors):
        logits = predicted.logits[level][image].double().numpy()
        offsets = predicted.offsets[level][image].double().numpy()
        decoded = decode(offsets, anchors.double().numpy()).clip(0, limit)
        best = np.argsort(-logits)[:pre_nms]
        solid = ((decoded[best, 2:] - decoded[best, :2]) > made.min_box_size).all(axis=1)
        best = best[solid & np.isfinite(logits[best])]
        boxes.append(decoded[best])
        scores.append(logits[best])
        levels.append(np.full(len(best), level))
    boxes, scores, levels = (
        torch.from_numpy(np.concatenate(parts)) for parts in (boxes, scores, levels)
    )
    kept = torchvision.ops.batched_nms(boxes, scores, levels, made.nms_threshold)[:post_nms]
    return boxes[kept].numpy(), scores[kept].numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"nms_threshold": 0.3, "min_box_size": 12.0}])
def test_proposals_equal_the_reference_image_by_image(seed, training, options):
    made = rpn(**options).train(training)
    predicted = predictions(made, seed)
    found = made.propose(predicted, SIZES)
    pre_nms, post_nms = (80, 50) if training else (40, 30)
    assert found.boxes.shape == (2, post_nms, 4)
    for image, size in enumerate(SIZES.tolist()):
        boxes, scores = reference_proposals(made, predicted, image, size, pre_nms, post_nms)
        count = len(boxes)
        assert found.valid[image].tolist() == [True] * count + [False] * (post_nms - count)
        np.testing.assert_allclose(found.scores[image, :count], scores, atol=1e-6)
        # Coordinates below 400 px before clipping, float32 against float64.
        np.testing.assert_allclose(found.boxes[image, :count], boxes, atol=1e-3)
        assert (found.boxes[image, count:] == 0).all()
        assert (found.scores[image, count:] == -torch.inf).all()


def test_each_image_is_clipped_to_its_own_size():
    made = rpn(nms_threshold=1.0).eval()
    predicted = predictions(made)
    for level in (*predicted.logits, *predicted.offsets):
        level[1] = level[0]
    found = made.propose(predicted, SIZES)
    for image, (height, width) in enumerate(SIZES.tolist()):
        corner = found.boxes[image].amax(dim=0)[2:]
        assert corner.tolist() == [width, height]


def test_fewer_anchors_than_asked_for():
    made = rpn(pre_nms_topk=(5000, 5000), post_nms_topk=(4000, 4000)).eval()
    predicted = predictions(made)
    total = sum(map(len, predicted.anchors))
    found = made.propose(predicted, SIZES)
    assert found.boxes.shape == (2, total, 4)
    for image, size in enumerate(SIZES.tolist()):
        boxes, _ = reference_proposals(made, predicted, image, size, 5000, 4000)
        assert int(found.valid[image].sum()) == len(boxes)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_never_becomes_a_proposal(bad):
    made = rpn().eval()
    predicted = predictions(made)
    predicted.logits[0][0, ::3] = bad
    predicted.offsets[1][1, ::2] = bad
    found = made.propose(predicted, SIZES)
    assert found.boxes.isfinite().all()
    assert found.scores[found.valid].isfinite().all()
    assert ((found.boxes[found.valid][:, 2:] - found.boxes[found.valid][:, :2]) > 0).all()
    assert found.valid.any(dim=1).all()


def test_nothing_finite_gives_no_proposals():
    made = rpn().eval()
    predicted = predictions(made)
    for level in predicted.logits:
        level.fill_(torch.nan)
    found = made.propose(predicted, SIZES)
    assert not found.valid.any()
    assert (found.boxes == 0).all()


def test_predictions_follow_the_order_of_the_anchors():
    """The head, cell by cell, anchor by anchor, against its convolutions' own layout."""
    made = rpn()
    torch.nn.init.normal_(made.offsets.weight)
    features = [torch.randn(2, 4, *shape) for shape in SHAPES]
    predicted = made(features)
    for level, feature in enumerate(features):
        hidden = made.conv(feature).relu()
        logits, offsets = made.objectness(hidden), made.offsets(hidden)
        height, width = SHAPES[level]
        assert len(predicted.anchors[level]) == height * width * 3
        for y, x, a in [(0, 0, 0), (height - 1, 0, 2), (0, width - 1, 1), (1, 2, 1)]:
            index = (y * width + x) * 3 + a
            torch.testing.assert_close(predicted.logits[level][:, index], logits[:, a, y, x])
            torch.testing.assert_close(
                predicted.offsets[level][:, index], offsets[:, 4 * a : 4 * a + 4, y, x]
            )


def targets(valid=((True, True), (True, False))):
    return Targets(
        boxes=torch.tensor(
            [[[5.0, 6, 40, 30], [50, 10, 90, 60]], [[20.0, 5, 36, 22], [0, 0, 0, 0]]]
        ),
        classes=torch.zeros(2, 2, dtype=torch.int64),
        valid=torch.tensor(valid),
        keys=torch.tensor([11, 22]),
    )


def reference_losses(made, predicted, truth):
    """Anchor by anchor, as Faster R-CNN's section 3.1.2 and equation 1 say it."""
    anchors = torch.cat(list(predicted.anchors))
    logits = torch.cat(list(predicted.logits), dim=1).double().numpy()
    offsets = torch.cat(list(predicted.offsets), dim=1).double().numpy()
    entropy, distance = 0.0, 0.0
    for image in range(len(logits)):
        objects = truth.boxes[image][truth.valid[image]]
        labels = np.zeros(len(anchors))
        if len(objects):
            iou = torchvision.ops.box_iou(objects, anchors).numpy()
            best = iou.max(axis=0)
            labels = np.where(best >= 0.7, 1, np.where(best < 0.3, 0, -1))
            labels[(iou == iou.max(axis=1, keepdims=True)).any(axis=0)] = 1
        order = random_order(truth.keys[image : image + 1], len(anchors), SAMPLING_STREAM)[0]
        ranked = order.argsort(descending=True).numpy()
        positives = [i for i in ranked if labels[i] == 1][: made.samples_per_image // 2]
        rest = made.samples_per_image - len(positives)
        negatives = [i for i in ranked if labels[i] == 0][:rest]
        entropy += sum(math.log1p(math.exp(-logits[image, i])) for i in positives)
        entropy += sum(math.log1p(math.exp(logits[image, i])) for i in negatives)
        for i in positives:
            a = anchors[i].double().numpy()
            t = objects[iou[:, i].argmax()].double().numpy()
            size_a, size_t = a[2:] - a[:2], t[2:] - t[:2]
            shift = (t[:2] + t[2:] - a[:2] - a[2:]) / 2 / size_a
            encoded = np.concatenate((shift, np.log(size_t / size_a)))
            distance += np.abs(offsets[image, i] - encoded).sum()
    divisor = made.samples_per_image * len(logits)
    return entropy / divisor, distance / divisor


@pytest.mark.parametrize("samples", [4, 32, 1000])
def test_losses_equal_a_loop_over_sampled_anchors(samples):
    made = rpn(samples_per_image=samples)
    predicted = predictions(made)
    found = made.losses(predicted, targets())
    entropy, distance = reference_losses(made, predicted, targets())
    assert found["loss_rpn_cls"].item() == pytest.approx(entropy, rel=1e-5)
    assert found["loss_rpn_loc"].item() == pytest.approx(distance, rel=1e-5)
    assert distance > 0


def test_images_without_objects_give_background_only():
    made = rpn()
    predicted = predictions(made)
    nothing = targets(valid=((False, False), (False, False)))
    found = made.losses(predicted, nothing)
    entropy, _ = reference_losses(made, predicted, nothing)
    assert found["loss_rpn_loc"] == 0
    assert found["loss_rpn_cls"].item() == pytest.approx(entropy, rel=1e-5)


def test_an_undecided_head_loses_log_2_per_sample():
    made = rpn()
    torch.nn.init.zeros_(made.objectness.weight)
    losses = made.losses(made([torch.randn(2, 4, *shape) for shape in SHAPES]), targets())
    assert losses["loss_rpn_cls"].item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_losses_reach_every_parameter():
    made = rpn()
    losses = made.losses(made([torch.randn(2, 4, *shape) for shape in SHAPES]), targets())
    sum(losses.values()).backward()
    assert all((p.grad != 0).any() for p in made.parameters())


def test_anchors_made_in_inference_mode_serve_training():
    made = rpn()
    features = [torch.randn(2, 4, *shape) for shape in SHAPES]
    with torch.inference_mode():
        made(features)
    losses = made.losses(made(features), targets())
    sum(losses.values()).backward()
