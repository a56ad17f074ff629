"""One YAML of detectron2's, read by it and by us: the same detector."""

from __future__ import annotations

import peers
import pytest
import torch
from parity_cases import assert_same, our_losses, our_numbers

from resnet_backbone.config.load import load_config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.weights.layouts import from_ours

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2_numbers import CONFIGS, their_losses, their_numbers

# A ResNeXt; its numbers are nobody's defaults, so that a key which is not read would be noticed.
MASK_RCNN = """
_BASE_: CONFIGS/Base-RCNN-FPN.yaml
MODEL:
  MASK_ON: True
  RESNETS: {STRIDE_IN_1X1: False, NUM_GROUPS: 32, WIDTH_PER_GROUP: 4}
  FPN: {OUT_CHANNELS: 64}
  PIXEL_STD: [57.375, 57.120, 58.395]
  PROPOSAL_GENERATOR: {MIN_SIZE: 4}
  ANCHOR_GENERATOR:
    SIZES: [[24, 40], [48, 80], [96, 160], [192, 320], [384, 640]]
    ASPECT_RATIOS: [[0.5, 2.0]]
  RPN:
    IOU_THRESHOLDS: [0.2, 0.6]
    BATCH_SIZE_PER_IMAGE: 64
    POSITIVE_FRACTION: 0.25
    PRE_NMS_TOPK_TEST: 600
    POST_NMS_TOPK_TEST: 500
    PRE_NMS_TOPK_TRAIN: 300
    POST_NMS_TOPK_TRAIN: 200
    NMS_THRESH: 0.6
  ROI_HEADS:
    NUM_CLASSES: 80
    IOU_THRESHOLDS: [0.4]
    BATCH_SIZE_PER_IMAGE: 128
    POSITIVE_FRACTION: 0.5
    SCORE_THRESH_TEST: 0.03
    NMS_THRESH_TEST: 0.4
  ROI_BOX_HEAD: {NUM_FC: 1, FC_DIM: 96, POOLER_RESOLUTION: 5, BBOX_REG_WEIGHTS: [8, 9, 4, 6]}
  ROI_MASK_HEAD: {NUM_CONV: 2, CONV_DIM: 48, POOLER_RESOLUTION: 10}
TEST: {DETECTIONS_PER_IMAGE: 70}
"""


def test_detections_and_losses_are_theirs(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(MASK_RCNN.replace("CONFIGS", str(CONFIGS)))
    drawn = build_detector(load_config(path))
    peers.fill(drawn)
    state = from_ours(drawn.state_dict(), "detectron2", "detector")
    torch.save({"model": state}, tmp_path / "model.pth")

    ours = build_detector(load_config(path, [f"MODEL.WEIGHTS={tmp_path / 'model.pth'}"]))
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu"])
    theirs = build_model(cfg)
    found = theirs.load_state_dict(state, strict=False)
    assert found.unexpected_keys == []

    batch = peers.make_batch([(192, 256), (160, 224)], instances=5, seed=1)
    numbers = their_numbers(theirs, _inputs(batch, cfg, False))
    assert_same(our_numbers(ours, batch), numbers)
    # The comparison is worth something only where there is much to compare.
    assert all(len(numbers[f"boxes/{row}"]) >= 20 for row in range(2))
    losses = our_losses(ours, batch)
    expected = their_losses(theirs, _inputs(batch, cfg, True))
    assert set(losses) == set(expected)
    for name, loss in expected.items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-4), name


def _inputs(batch, cfg, training):
    """Our batches are RGB; detectron2's mapper reads files in the order that the model wants."""
    inputs = peers.detectron2_inputs(batch, training=training)
    if cfg.INPUT.FORMAT == "BGR":
        inputs = [record | {"image": record["image"].flip(0)} for record in inputs]
    return inputs
