"""The second stage: which regions it sees, what they should become, what it hands on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_backbone.detection.box_head import BoxPredictor, FCHead
from resnet_backbone.detection.mask_head import MaskHead
from resnet_backbone.detection.pooling import MultiLevelRoIAlign
from resnet_backbone.detection.roi_heads import RegionPooler, RoIHeads, RoISettings
from resnet_backbone.detection.rpn import Proposals
from resnet_backbone.structures import Targets

CLASSES = 3
SIZES = torch.tensor([[64, 96], [64, 80]])


def pooler():
    return RegionPooler(MultiLevelRoIAlign(4, [8]))


def heads(*, mask=True, share_pooler=False, **settings):
    torch.manual_seed(0)
    return RoIHeads(
        pooler(),
        FCHead(6 * 16, 10, 1),
        BoxPredictor(10, CLASSES, (10.0, 10.0, 5.0, 5.0)),
        RoISettings(**({"samples_per_image": 16} | settings)),
        pooler() if mask and not share_pooler else None,
        MaskHead(6, channels=5, layers=1, num_classes=CLASSES) if mask else None,
    )


def features():
    return [torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(1))]


def square(x, y, side):
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], dtype=float)


OBJECTS = ([(10, 10, 30), (60, 20, 20)], [(5, 30, 25)])


def targets(objects=OBJECTS):
    boxes, valid = torch.zeros(2, 2, 4), torch.zeros(2, 2, dtype=torch.bool)
    for image, squares in enumerate(objects):
        for place, (x, y, side) in enumerate(squares):
            boxes[image, place] = torch.tensor([x, y, x + side, y + side])
            valid[image, place] = True
    return Targets(
        boxes=boxes,
        classes=torch.tensor([[1, 2], [0, 0]]) * valid,
        valid=valid,
        keys=torch.tensor([3, 4]),
        masks=[[[square(*s)] for s in squares] for squares in objects],
    )


def proposals(count=40, valid=None):
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(2, count, 2, generator=generator) * 50
    boxes = torch.cat((corner, corner + 5 + 25 * torch.rand(2, count, 2, generator=generator)), 2)
    valid = torch.ones(2, count, dtype=torch.bool) if valid is None else valid
    return Proposals(boxes * valid[..., None], torch.zeros(2, count), valid)


NO_PROPOSALS = torch.zeros(2, 40, dtype=torch.bool)


def test_ground_truth_stands_for_election():
    """Without any valid proposal the objects themselves are all that is sampled."""
    regions = heads().sample(proposals(valid=NO_PROPOSALS), targets())
    assert regions.positive.sum(dim=1).tolist() == [2, 1]
    assert torch.equal(regions.valid, regions.positive)
    found = {tuple(box.tolist()) for box in regions.boxes[regions.positive]}
    assert found == {(10, 10, 40, 40), (60, 20, 80, 40), (5, 30, 30, 55)}
    assert torch.equal(regions.boxes[regions.positive], regions.targets[regions.positive])


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def test_every_region_gets_the_object_that_it_overlaps_most():
    truth = targets()
    regions = heads(samples_per_image=42).sample(proposals(), truth)
    seen = set()
    for image, slot in regions.valid.nonzero().tolist():
        box = regions.boxes[image, slot].tolist()
        objects = truth.boxes[image][truth.valid[image]].tolist()
        overlaps = [iou(box, o) for o in objects]
        label = regions.classes[image, slot].item()
        assert regions.positive[image, slot] == (max(overlaps) >= 0.5)
        if max(overlaps) >= 0.5:
            best = int(np.argmax(overlaps))
            assert regions.instances[image, slot] == best
            assert regions.targets[image, slot].tolist() == objects[best]
            assert label == truth.classes[image, best]
        else:
            assert label == CLASSES
        seen.add(label)
    assert seen == {0, 1, 2, CLASSES}


def test_foreground_keeps_to_its_quota():
    crowd = proposals()
    boxes = crowd.boxes.clone()
    boxes[:, :30] = targets().boxes[:, :1]
    regions = heads().sample(replace(crowd, boxes=boxes), targets())
    assert regions.positive.sum(dim=1).tolist() == [4, 4]  # a quarter of 16
    # All the background there is follows: the ten proposals that were left as they were.
    assert regions.valid.sum(dim=1).tolist() == [14, 14]
    assert regions.positive[:, :4].all()


def test_losses_of_undecided_heads_are_logarithms():
    """All classes equally likely: ln(K + 1) per region; all pixels: ln 2 per region."""
    made = heads()
    for layer in (made.predictor.classifier, made.predictor.regressor, made.mask_head.predictor):
        torch.nn.init.zeros_(layer.weight)
    losses = made.losses(features(), proposals(), targets())
    assert losses["loss_cls"].item() == pytest.approx(math.log(CLASSES + 1), rel=1e-6)
    assert losses["loss_mask"].item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_mask_loss_compares_each_region_with_its_own_object():
    """Regions that equal their square objects should be full; a sure head's loss says how sure."""
    made = heads()
    torch.nn.init.zeros_(made.mask_head.predictor.weight)
    torch.nn.init.constant_(made.mask_head.predictor.bias, 3.0)
    exact = made.losses(features(), proposals(valid=NO_PROPOSALS), targets())
    assert exact["loss_mask"].item() == pytest.approx(math.log1p(math.exp(-3)), rel=1e-5)


def test_sharing_the_box_branches_regions_changes_nothing_but_work():
    """C4 does not pool twice; with equal poolers the loss must be that of pooling twice."""
    twice, once = heads(), heads(share_pooler=True)
    once.load_state_dict(twice.state_dict())
    expected = twice.losses(features(), proposals(), targets())
    found = once.losses(features(), proposals(), targets())
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss)
    assert twice.detect(features(), proposals(), SIZES)[1].shape[1:] == (8, 8)


@pytest.mark.parametrize("objects", [([], []), ([(10, 10, 30)], [])])
@pytest.mark.parametrize("valid", [None, NO_PROPOSALS], ids=["proposals", "none"])
def test_few_or_no_objects_and_proposals_give_finite_losses_for_all_parameters(objects, valid):
    made = heads()
    losses = made.losses(features(), proposals(valid=valid), targets(objects))
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask"}
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    if not any(objects):
        assert losses["loss_box_reg"] == losses["loss_mask"] == 0


def test_divisors_are_the_same_in_either_mode_of_a_lone_process():
    made = heads()
    training = made.train().losses(features(), proposals(), targets())
    evaluation = made.eval().losses(features(), proposals(), targets())
    assert all(torch.equal(training[name], evaluation[name]) for name in training)


def test_masks_are_the_probabilities_of_the_detected_classes():
    made = heads(score_threshold=0.2)
    torch.nn.init.normal_(made.predictor.classifier.weight)
    torch.nn.init.normal_(made.mask_head.predictor.weight)
    found, masks = made.detect(features(), proposals(), SIZES)
    assert len(found.boxes) > 5
    regions = made.mask_pooler(features(), found.boxes, found.images)
    expected = made.mask_head(regions, found.classes).sigmoid()
    torch.testing.assert_close(masks, expected)
    assert ((masks >= 0) & (masks <= 1)).all()


def test_no_detection_gives_no_masks_and_faster_rcnn_none_at_all():
    found, masks = heads(score_threshold=1.0).detect(features(), proposals(), SIZES)
    assert found.boxes.shape == (0, 4)
    assert masks.shape == (0, 8, 8)
    assert heads(mask=False).detect(features(), proposals(), SIZES)[1] is None
    assert set(heads(mask=False).losses(features(), proposals(), targets())) == {
        "loss_cls",
        "loss_box_reg",
    }
