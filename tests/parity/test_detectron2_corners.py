"""What the main comparison with detectron2 leaves out: unusual inputs and settings."""

from __future__ import annotations

from dataclasses import replace

import peers
import pytest
import torch
from parity_cases import assert_same, our_losses, our_numbers

from resnet_backbone.structures import Batch

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.structures import BitMasks
from detectron2_numbers import CONFIGS, their_losses, their_numbers

NAME = "coco_mrcnn_r50"


@pytest.fixture(scope="module")
def pair():
    ours = peers.build_ours(NAME)
    return ours, peers.build_detectron2(NAME, ours, str(CONFIGS))


def assert_same_losses(ours, theirs, batch: Batch, inputs) -> None:
    with torch.no_grad():
        losses, expected = our_losses(ours, batch), their_losses(theirs, inputs)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        # Where there is nothing to learn both are exactly 0.
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-9), name


@pytest.mark.parametrize("counts", [(5, 1), (3, 0), (0, 0)])
def test_losses_where_images_hold_few_or_no_instances(pair, counts):
    batch = peers.make_batch([(192, 256), (160, 224)], instances=5)
    inputs = peers.detectron2_inputs(batch, training=True)
    for record, count in zip(inputs, counts, strict=True):
        record["instances"] = record["instances"][:count]
    valid = torch.arange(5) < torch.tensor(counts)[:, None]
    targets = replace(
        batch.targets,
        valid=valid,
        boxes=batch.targets.boxes * valid[..., None],
        classes=batch.targets.classes * valid,
        masks=[m[:count] for m, count in zip(batch.targets.masks, counts, strict=True)],
    )
    assert_same_losses(*pair, replace(batch, targets=targets), inputs)


def test_losses_of_masks_that_are_bitmaps(pair):
    batch = peers.make_batch([(192, 256), (160, 224)], instances=5)
    inputs = peers.detectron2_inputs(batch, training=True)
    bitmaps = []
    for record in inputs:
        instances = record["instances"]
        drawn = BitMasks.from_polygon_masks(instances.gt_masks, *instances.image_size)
        instances.gt_masks = drawn
        bitmaps.append(list(drawn.tensor.numpy()))
    targets = replace(batch.targets, masks=bitmaps)
    assert_same_losses(*pair, replace(batch, targets=targets), inputs)


def test_detections_of_padded_and_resized_images(pair):
    ours, theirs = pair
    batch = peers.make_batch([(187, 250), (161, 213)], instances=5, size_divisor=32)
    batch = replace(batch, original_sizes=[(374, 500), (120, 159)])
    expected = their_numbers(theirs, peers.detectron2_inputs(batch, training=False))
    assert_same(our_numbers(ours, batch), expected)


@pytest.mark.parametrize("name", [NAME, "coco_frcnn_r50_dc5"])
def test_features_of_the_papers_networks(name):
    """Stride in the 1x1 and BGR: what MSRA's weights, detectron2's default, want."""
    overrides = (
        "model.backbone.stride_in_1x1=true",
        "model.pixels.channel_order=BGR",
        "model.pixels.mean=[103.53, 116.28, 123.675]",
        "model.pixels.std=[1.0, 1.0, 1.0]",
    )
    options = ("MODEL.RESNETS.STRIDE_IN_1X1", True, "MODEL.PIXEL_STD", [1.0, 1.0, 1.0])
    options += ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675], "INPUT.FORMAT", "BGR")
    ours = peers.build_ours(name, overrides).eval()
    theirs = peers.build_detectron2(name, ours, str(CONFIGS), options).eval()
    batch = peers.make_batch([(192, 256)])
    inputs = [{"image": batch.images[0].flip(0)}]  # to BGR, as detectron2's loader does
    with torch.no_grad():
        features = ours.backbone(ours.normalize(batch))
        trunk = getattr(theirs.backbone, "bottom_up", theirs.backbone)
        expected = trunk(theirs.preprocess_image(inputs).tensor)
    assert list(features) == list(expected)
    for stage, feature in features.items():
        error = (feature - expected[stage]).abs().max() / expected[stage].abs().max()
        assert error <= 1e-5, stage
