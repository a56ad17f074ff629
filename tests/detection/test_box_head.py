"""The box branch against loops over regions, images and classes."""

import math

import numpy as np
import pytest
import torch

from resnet_backbone.detection.box_head import BoxPredictor, FCHead, MeanHead, SampledRegions

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
CLASSES = 3


def predictor():
    return BoxPredictor(8, CLASSES, WEIGHTS)


def test_fully_connected_layers_with_relu():
    head = FCHead(2 * 3 * 3, 5, 2)
    regions = torch.randn(4, 2, 3, 3)
    x = regions.flatten(1).numpy()
    for layer in head.fcs:
        x = np.maximum(x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    assert head.out_features == 5
    np.testing.assert_allclose(head(regions).detach(), x, atol=1e-5)


def test_without_layers_a_region_is_flattened():
    head = FCHead(18, 5, 0)
    regions = torch.randn(4, 2, 3, 3)
    assert head.out_features == 18
    assert torch.equal(head(regions), regions.flatten(1))


def test_mean_head_averages_cells():
    regions = torch.randn(4, 6, 3, 3)
    np.testing.assert_allclose(MeanHead(6)(regions), regions.numpy().mean(axis=(2, 3)), atol=1e-6)


def test_background_has_a_score_but_no_offsets():
    logits, offsets = predictor()(torch.randn(5, 8))
    assert logits.shape == (5, CLASSES + 1)
    assert offsets.shape == (5, CLASSES, 4)


def sampled():
    """Two images with three slots: foreground, background, and in the second image padding."""
    return SampledRegions(
        boxes=torch.tensor(
            [
                [[0.0, 0, 10, 10], [5, 5, 25, 15], [3, 3, 9, 9]],
                [[2.0, 2, 12, 22], [0, 0, 8, 8], [0, 0, 0, 0]],
            ]
        ),
        classes=torch.tensor([[2, 0, CLASSES], [1, CLASSES, CLASSES]]),
        targets=torch.tensor(
            [
                [[1.0, 1, 11, 13], [5, 5, 20, 20], [0, 0, 0, 0]],
                [[2.0, 0, 14, 20], [0, 0, 0, 0], [0, 0, 0, 0]],
            ]
        ),
        instances=torch.zeros(2, 3, dtype=torch.int64),
        positive=torch.tensor([[True, True, False], [True, False, False]]),
        valid=torch.tensor([[True, True, True], [True, True, False]]),
    )


def test_losses_are_sums_over_regions_divided_by_their_count():
    regions = sampled()
    logits, offsets = torch.randn(6, CLASSES + 1), torch.randn(6, CLASSES, 4)
    found = predictor().losses(logits, offsets, regions, torch.tensor(5.0))

    entropy, distance = 0.0, 0.0
    for row in range(6):
        image, slot = divmod(row, 3)
        if not regions.valid[image, slot]:
            continue
        label = int(regions.classes[image, slot])
        z = logits[row].double().numpy()
        entropy += math.log(np.exp(z).sum()) - z[label]
        if label < CLASSES:
            a = regions.boxes[image, slot].double().numpy()
            t = regions.targets[image, slot].double().numpy()
            size_a, size_t = a[2:] - a[:2], t[2:] - t[:2]
            shift = (t[:2] + t[2:] - a[:2] - a[2:]) / 2 / size_a
            truth = np.concatenate((shift, np.log(size_t / size_a))) * WEIGHTS
            distance += np.abs(offsets[row, label].numpy() - truth).sum()
    assert found["loss_cls"].item() == pytest.approx(entropy / 5, rel=1e-5)
    assert found["loss_box_reg"].item() == pytest.approx(distance / 5, rel=1e-5)


def test_only_the_own_classes_offsets_of_foreground_learn():
    regions = sampled()
    offsets = torch.randn(6, CLASSES, 4, requires_grad=True)
    logits = torch.randn(6, CLASSES + 1, requires_grad=True)
    losses = predictor().losses(logits, offsets, regions, torch.tensor(5.0))
    sum(losses.values()).backward()
    learning = {(row, label) for row, label in offsets.grad.abs().sum(dim=2).nonzero().tolist()}
    assert learning == {(0, 2), (1, 0), (3, 1)}
    assert (logits.grad[5] == 0).all()
    assert (logits.grad[:5].abs().sum(dim=1) > 0).all()


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if overlap > 0 else 0.0


def decode(offset, anchor, size):
    """Equations 1 to 4 of R-CNN's appendix C, clipped to the image."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh = np.asarray(offset) / WEIGHTS
    x = anchor[0] + width / 2 + dx * width
    y = anchor[1] + height / 2 + dy * height
    width, height = width * math.exp(dw), height * math.exp(dh)
    box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return box.clip(0, [size[1], size[0], size[1], size[0]])


def reference_detect(scores, offsets, boxes, valid, sizes, threshold, overlap, limit):
    """Image by image, class by class, greedily; returns (image, class, score, box) rows."""
    found = []
    for image, size in enumerate(sizes):
        of_image = []
        for label in range(CLASSES):
            candidates = [
                (scores[image, p, label], decode(offsets[image, p, label], boxes[image, p], size))
                for p in range(boxes.shape[1])
                if valid[image, p] and scores[image, p, label] > threshold
            ]
            kept = []
            for score, box in sorted(candidates, key=lambda c: -c[0]):
                if all(iou(box, other) <= overlap for _, other in kept):
                    kept.append((score, box))
            of_image += [(image, label, score, box) for score, box in kept]
        found += sorted(of_image, key=lambda c: -c[2])[:limit]
    return found


def random_proposals(seed, batch=3, count=25):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, count, 2, generator=generator) * 40
    side = torch.rand(batch, count, 2, generator=generator) * 40 + 4
    return (
        torch.randn(batch * count, CLASSES + 1, generator=generator) * 2,
        torch.randn(batch * count, CLASSES, 4, generator=generator),
        torch.cat((corner, corner + side), dim=2),
        torch.rand(batch, count, generator=generator) > 0.2,
        torch.tensor([[60, 70], [50, 80], [64, 64]]),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("threshold", "overlap", "limit"), [(0.05, 0.5, 100), (0.3, 0.3, 4), (0.0, 0.9, 10)]
)
def test_detections_equal_a_loop_over_images_and_classes(seed, threshold, overlap, limit):
    logits, offsets, boxes, valid, sizes = random_proposals(seed)
    found = predictor().detect(
        logits,
        offsets,
        boxes,
        valid,
        sizes,
        score_threshold=threshold,
        nms_threshold=overlap,
        limit=limit,
    )
    z = np.exp(logits.double().numpy())
    scores = (z / z.sum(axis=1, keepdims=True)).reshape(*valid.shape, CLASSES + 1)
    numbers = offsets.double().numpy().reshape(*valid.shape, CLASSES, 4)
    expected = reference_detect(
        scores,
        numbers,
        boxes.double().numpy(),
        valid.numpy(),
        sizes.tolist(),
        threshold,
        overlap,
        limit,
    )
    assert found.images.tolist() == [image for image, *_ in expected]
    assert found.classes.tolist() == [label for _, label, *_ in expected]
    np.testing.assert_allclose(found.scores, [row[2] for row in expected], atol=1e-6)
    # Coordinates below 100 px, float32 against float64.
    np.testing.assert_allclose(found.boxes, [row[3] for row in expected], atol=1e-4)


def detect(logits, offsets, boxes, valid, sizes):
    return predictor().detect(
        logits, offsets, boxes, valid, sizes, score_threshold=0.05, nms_threshold=0.5, limit=10
    )


def test_nothing_above_the_threshold_gives_empty_tensors():
    _, offsets, boxes, valid, sizes = random_proposals(0)
    background = torch.tensor([0.0, 0, 0, 50]).expand(len(offsets), -1)
    found = detect(background, offsets, boxes, valid, sizes)
    assert found.boxes.shape == (0, 4)
    assert len(found.scores) == len(found.classes) == len(found.images) == 0


def test_regions_that_are_not_a_number_detect_nothing_and_disturb_no_other():
    logits, offsets, boxes, valid, sizes = random_proposals(1)
    valid = torch.ones_like(valid)
    without = detect(logits, offsets, boxes, valid & (torch.arange(25) >= 5), sizes)
    for values in (logits, offsets):
        broken = values.clone().unflatten(0, (3, 25))
        broken[:, :5] = torch.nan
        whole = [broken.flatten(0, 1) if x is values else x for x in (logits, offsets)]
        found = detect(*whole, boxes, valid, sizes)
        assert torch.equal(found.scores, without.scores)
        assert torch.equal(found.boxes, without.boxes)
