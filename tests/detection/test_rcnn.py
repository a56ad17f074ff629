"""Whole detectors, small: contracts, edge cases, determinism."""

from dataclasses import replace

import peers
import pytest
import torch

from resnet_backbone.config.load import load_config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import Targets

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
