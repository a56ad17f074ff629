"""Whole detectors, small: contracts, edge cases, determinism."""

from dataclasses import replace

import peers
import pytest
import torch

from resnet_backbone.config.load import load_config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import Batch, Targets

ONE_MAP = ["model.rpn.anchors.sizes=[[16, 32, 64, 128, 256]]"]
ARCHITECTURES = {
    "fpn": [],
    "dc5": ["model.architecture=dc5", *ONE_MAP],
    "c4": [
        "model.architecture=c4",
        *ONE_MAP,
        "model.roi.box_pooler_resolution=14",
        "model.roi.mask_conv_layers=0",
    ],
}
LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}


def detector(architecture="fpn", *overrides, seed=0):
    torch.manual_seed(seed)
    cfg = load_config("quickstart.yaml", [*ARCHITECTURES[architecture], *overrides])
    return build_detector(cfg, num_classes=3)


def batch():
    made = peers.make_batch([(64, 96), (96, 64)], instances=3)
    return replace(made, targets=replace(made.targets, classes=made.targets.classes % 3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_gives_finite_losses_and_a_gradient_to_every_parameter(architecture):
    model = detector(architecture).train()
    losses = model(batch())
    assert set(losses) == LOSSES
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detections_lie_inside_their_image_best_first(architecture):
    model = detector(architecture, "model.roi.score_threshold=0.0").eval()
    images = replace(batch(), original_sizes=[(128, 192), (48, 32)])
    for found, (height, width) in zip(model(images), images.original_sizes, strict=True):
        assert len(found) > 0
        assert found.masks.shape == (len(found), height, width)
        assert found.masks.dtype == torch.bool
        limit = torch.tensor([width, height, width, height])
        assert ((found.boxes >= 0) & (found.boxes <= limit)).all()
        assert (found.scores.diff() <= 0).all()


def test_images_of_any_size_for_c4_and_dc5_but_multiples_of_32_for_fpn():
    odd = peers.make_batch([(75, 97), (91, 66)], instances=3)
    for architecture in ("c4", "dc5"):
        model = detector(architecture).eval()
        maps = model.neck(model.backbone(model.normalize(odd)))
        # ceil(91 / 16) x ceil(97 / 16) cells, as detectron2 has them, which does not pad either
        assert [tuple(each.shape[2:]) for each in maps] == [(6, 7)]
        assert len(model(odd)) == 2
    message = "found images of 91 x 97 pixels, expected multiples of 32; collate with size_divisor"
    with pytest.raises(ValueError, match=message):
        detector().eval()(odd)


def test_images_without_objects_train_the_background():
    model = detector().train()
    empty = Targets(
        boxes=torch.zeros(2, 1, 4),
        classes=torch.zeros(2, 1, dtype=torch.int64),
        valid=torch.zeros(2, 1, dtype=torch.bool),
        keys=torch.arange(2),
        masks=[[], []],
    )
    losses = model(replace(batch(), targets=empty))
    assert losses["loss_rpn_loc"] == losses["loss_box_reg"] == losses["loss_mask"] == 0
    sum(losses.values()).backward()
    # DDP waits for a gradient of every parameter, the mask head's too.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_step_draws_from_the_keys_and_from_nothing_else():
    model = detector().train()
    state = torch.get_rng_state()
    first = model(batch())
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(17)
    again = model(batch())
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = replace(batch().targets, keys=torch.tensor([5, 6]))
    assert not torch.equal(model(replace(batch(), targets=other))["loss_cls"], first["loss_cls"])


def test_losses_and_detections_are_there_in_either_mode():
    model = detector()
    for mode in (True, False):
        model.train(mode)
        assert set(model.losses(batch())) == LOSSES
        assert len(model.detect(batch())) == 2
    with pytest.raises(ValueError, match="targets"):
        model.losses(replace(batch(), targets=None))


def test_normalisation_is_zero_beside_the_image_and_turns_channels_with_their_means():
    rgb = detector()
    bgr = detector(
        "fpn",
        "model.pixels.channel_order=BGR",
        "model.pixels.mean=[103.53, 116.28, 123.675]",
        "model.pixels.std=[57.375, 57.12, 58.395]",
    )
    images = batch()
    normal = rgb.normalize(images)
    assert (normal[0, :, 64:] == 0).all() and (normal[1, :, :, 64:] == 0).all()
    expected = (images.images[0, 0, 5, 7] - 123.675) / 58.395
    assert normal[0, 0, 5, 7] == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(bgr.normalize(images), normal.flip(1))


def test_not_a_number_never_becomes_a_proposal():
    model = detector().eval()
    images = batch()
    with torch.no_grad():
        predictions = model.rpn(model.neck(model.backbone(model.normalize(images))))
        predictions.logits[0][0, :50] = torch.nan
        predictions.offsets[1][1, :20] = torch.inf
        proposals = model.rpn.propose(predictions, images.sizes)
    assert proposals.boxes.isfinite().all()
    assert proposals.scores[proposals.valid].isfinite().all()
    assert proposals.valid.any(dim=1).all()


def test_contradicting_class_counts_are_refused():
    cfg = load_config("quickstart.yaml", ["model.num_classes=4"])
    with pytest.raises(ConfigError, match="4.*3 classes"):
        build_detector(cfg, num_classes=3)
    with pytest.raises(ConfigError, match="num_classes is not set"):
        build_detector(load_config("quickstart.yaml"))


# Frozen norms: with batch statistics an image does depend on the others.
ALONE = "model.backbone.norm=FrozenBN"


def opinionated():
    """A detector whose scores spread, so that there is something to detect."""
    model = detector("fpn", ALONE).eval()
    torch.nn.init.normal_(model.roi_heads.predictor.classifier.weight, std=0.3)
    torch.nn.init.normal_(model.roi_heads.mask_head.predictor.weight, std=0.3)
    return model


def assert_same_detections(found, expected):
    assert len(found) == len(expected) > 0
    assert torch.equal(found.classes, expected.classes)
    # The same sums, but a convolution may add them in another order for another batch size.
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-2, rtol=0)
    assert (found.masks == expected.masks).float().mean() > 0.999


def pick(images, order):
    """Returns the batch of the images with the given indices, padded as before."""
    truth = images.targets
    return Batch(
        images=images.images[order].contiguous(memory_format=torch.channels_last),
        sizes=images.sizes[order],
        original_sizes=[images.original_sizes[i] for i in order],
        image_ids=[images.image_ids[i] for i in order],
        targets=Targets(
            boxes=truth.boxes[order],
            classes=truth.classes[order],
            valid=truth.valid[order],
            keys=truth.keys[order],
            masks=[truth.masks[i] for i in order],
        ),
    )


def test_what_lies_in_the_padding_is_never_seen():
    model, images = opinionated(), batch()
    littered = images.images.clone()
    littered[0, :, 64:] = 255
    littered[1, :, :, 64:] = 77
    expected = model.detect(images)
    for found, clean in zip(model.detect(replace(images, images=littered)), expected, strict=True):
        assert torch.equal(found.boxes, clean.boxes)
        assert torch.equal(found.masks, clean.masks)


def test_detections_do_not_depend_on_the_other_images_of_the_batch():
    model, images = opinionated(), batch()
    together = model.detect(images)
    assert [found.image_id for found in together] == images.image_ids
    for index, expected in enumerate(together):
        (found,) = model.detect(pick(images, [index]))
        assert found.image_id == images.image_ids[index]
        assert_same_detections(found, expected)


def test_losses_do_not_depend_on_the_order_of_images():
    model, images = detector("fpn", ALONE).train(), batch()
    forward, backward = model(images), model(pick(images, [1, 0]))
    for name in LOSSES:
        torch.testing.assert_close(forward[name], backward[name], atol=1e-6, rtol=1e-4)


def test_boxes_are_reported_at_the_original_size():
    model, images = opinionated(), batch()
    sizes = images.sizes.tolist()
    same = model.detect(images)
    larger = model.detect(replace(images, original_sizes=[(2 * h, 3 * w) for h, w in sizes]))
    for found, expected, (height, width) in zip(larger, same, sizes, strict=True):
        assert found.size == (2 * height, 3 * width)
        assert found.masks.shape[1:] == found.size
        scale = torch.tensor([3.0, 2.0, 3.0, 2.0])
        torch.testing.assert_close(found.boxes, expected.boxes * scale)
        assert torch.equal(found.scores, expected.scores)


def test_faster_rcnn_trains_without_masks_and_reports_none():
    model = detector("fpn", "model.mask=false")
    images = replace(batch(), targets=replace(batch().targets, masks=()))
    assert set(model.train()(images)) == LOSSES - {"loss_mask"}
    assert all(found.masks is None for found in model.eval()(images))
