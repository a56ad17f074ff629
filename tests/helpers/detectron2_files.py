"""Files of detectron2's, and what a user reads where they are refused."""

from pathlib import Path

import pytest

from resnet_backbone.config.load import load_config
from resnet_backbone.errors import ConfigError

BASE = """
MODEL:
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS: {OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5]}
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6], POST_NMS_TOPK_TRAIN: 1000}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5]}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, POOLER_RESOLUTION: 7}
DATASETS:
  TRAIN: ("coco_2017_train",)
  TEST: ("coco_2017_val",)
INPUT:
  MIN_SIZE_TRAIN: (640, 672)
VERSION: 2
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def errors_of(path, overrides=()):
    """Returns the lines of the error without the path of this test's folder."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    first, *rest = str(caught.value).replace(f"{path.parent}/", "").split("\n  ")
    assert not rest or first.startswith(f"{len(rest)} error")
    return rest or [first]
