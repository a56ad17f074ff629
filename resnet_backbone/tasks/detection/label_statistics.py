"""Statistics of the boxes to train on, beside the anchors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.data.coco.transforms import target_size
from resnet_backbone.report.label_statistics import LabelStatistics


def label_statistics(cfg: Config, dataset: CocoDataset) -> LabelStatistics:
    """Returns the statistics of a training set, for the middle one of `cfg.data.min_sizes`."""
    boxes, images = dataset.training_boxes()
    records = dataset.images
    originals = np.array([(record.width, record.height) for record in records], dtype=np.float64)
    scales = _scales(originals, cfg.data.min_sizes, cfg.data.max_size)[images]
    sides = boxes[:, 2:] - boxes[:, :2]  # [N, 2], width and height
    anchors = cfg.model.rpn.anchors
    return LabelStatistics(
        class_names=dataset.class_names,
        counts=dataset.class_counts,
        sizes=np.sqrt(sides.prod(axis=1)) * scales,
        ratios=sides[:, 1] / sides[:, 0],
        centres=(boxes[:, :2] + sides / 2) / originals[images],
        anchor_sizes=[size for sizes in anchors.sizes for size in sizes],
        anchor_ratios=anchors.aspect_ratios,
    )


def _scales(originals: np.ndarray, short_sides: Sequence[int], max_side: int) -> np.ndarray:
    """Returns float64[M], the factor by which each image is resized; `originals` is [M, 2]."""
    middle = sorted(short_sides)[len(short_sides) // 2]
    resized = [target_size(int(h), int(w), middle, max_side) for w, h in originals]
    return np.sqrt(np.array(resized, dtype=np.float64).prod(axis=1) / originals.prod(axis=1))
