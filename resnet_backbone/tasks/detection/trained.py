"""Loads a trained detector from a weight file, and checks that it is the one that was trained."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from resnet_backbone.config.schema import Config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.errors import WeightsError
from resnet_backbone.tasks.detection.stored_sizes import refuse_other_sizes
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.utils.text import count_of
from resnet_backbone.utils.trees import leaves
from resnet_backbone.weights.files import read_metadata
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.metadata import (
    CLASS_NAMES,
    category_ids_in,
    class_names_in,
    config_in,
)
from resnet_backbone.weights.stored import Stored, read_weights

# Keys of `model` that may differ from training: the origin of the weights, what was frozen, how
# regions are sampled and selected. Any other difference would be another network with the same
# tensors.
FREE = frozenset(
    {
        "num_classes",
        "weights",
        "settings",
        "allow_partial",
        "allow_extra",
        "class_layers",
        "backbone.weights",
        "backbone.freeze_at",
        "backbone.zero_init_residual",
        "backbone.stochastic_depth",
        "backbone.activation_checkpointing",
        "rpn.iou_thresholds",
        "rpn.samples_per_image",
        "rpn.positive_fraction",
        "rpn.pre_nms_topk_train",
        "rpn.pre_nms_topk_test",
        "rpn.post_nms_topk_train",
        "rpn.post_nms_topk_test",
        "rpn.nms_threshold",
        "rpn.min_box_size",
        "roi.samples_per_image",
        "roi.positive_fraction",
        "roi.iou_threshold",
        "roi.score_threshold",
        "roi.nms_threshold",
        "roi.detections_per_image",
    }
)
# FrozenBN, BN and SyncBN compute the same in evaluation mode.
SAME_AT_TEST = ("BN", "FrozenBN", "SyncBN")
CLASSIFIER = "roi_heads.predictor.classifier.weight"
# Keys of `data` that belong to the weights.
READING = ("test_min_size", "test_max_size", "bit_depth")


@dataclass(frozen=True)
class Trained:
    """A detector with its weights.

    Attributes:
        cfg: The configuration that it was built from.
        model: The detector, in evaluation mode.
        class_names: The name of each class.
        category_ids: The COCO category id of each class.
        names_known: False if the file does not name its classes, so that they are just numbered.
    """

    cfg: Config
    model: RCNN
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    names_known: bool = True


def load_trained(
    weights: str | Path, cfg: Config | None = None, *, device: torch.device | str = "cpu"
) -> Trained:
    """Builds a detector and loads its weights, from a file of this or another framework.

    Args:
        weights: A `.safetensors` file that contains the run's configuration and classes, or the
            folder of a finished run. Files without them, such as other frameworks' (see
            `weights.layouts`), require `cfg`.
        cfg: The configuration; None takes the one in the file.
        device: The device of the model.

    Raises:
        WeightsError: the file cannot be read, contradicts `cfg`, or lacks parameters of the
            detector.
    """
    path = weights_in(weights)
    stored = read_weights(path)
    count = _class_count(stored)
    cfg = _agreed_config(stored.text, cfg, path)
    names, ids, known = _classes(stored.text, cfg, path, count)
    if "config" not in stored.text:
        own_names = stored.layout == "ours"
        cfg = settle_detector(cfg, None if own_names else stored)
    refuse_other_sizes(cfg.model, stored)
    model = build_detector(_without_initial_weights(cfg), len(names))
    load_weights(model, stored, allow_extra=cfg.model.allow_extra, class_layers="copy")
    return Trained(cfg, model.to(device).eval(), names, ids, known)


def _agreed_config(card: Mapping[str, str], cfg: Config | None, path: Path) -> Config:
    """Returns the configuration to build from, checked against the one in the file."""
    stored = config_in(Config, card, str(path))
    if stored is None:
        if cfg is None:
            raise WeightsError(
                f"{path}: contains no configuration; give the one of its training (--config)"
            )
        return cfg
    if cfg is None:
        return _without_imports(stored, path)
    _refuse_contradictions(stored, cfg, path)
    return _filled(cfg, stored)


def stored_config(weights: str | Path) -> Config | None:
    """Returns the configuration inside a weight file, or None if there is none.

    Raises:
        WeightsError: the file or its configuration cannot be read.
    """
    path = weights_in(weights)
    card = read_metadata(path) if path.suffix == ".safetensors" else {}
    stored = config_in(Config, card, str(path))
    return None if stored is None else _without_imports(stored, path)


def _without_imports(stored: Config, path: Path) -> Config:
    """Checks imports: a weight file must not choose modules to import, which would run code."""
    absent = [name for name in stored.imports if name not in sys.modules]
    if absent:
        raise WeightsError(
            f"{path}: needs backbones that the modules {', '.join(absent)} register; import these"
            " first, or name them in `imports` of a configuration that you give"
        )
    return stored


def _filled(cfg: Config, stored: Config) -> Config:
    """Returns `cfg` with the values that it leaves to the weights taken from `stored`."""

    def fill(own: BaseModel, other: BaseModel) -> dict[str, Any]:
        return {key: value for key, value in other if getattr(own, key) is None}

    model, known = cfg.model, stored.model
    update = {
        "backbone": model.backbone.model_copy(update=fill(model.backbone, known.backbone)),
        "pixels": model.pixels.model_copy(update=fill(model.pixels, known.pixels)),
    }
    return cfg.model_copy(update={"model": model.model_copy(update=update)})


def _refuse_contradictions(stored: Config, cfg: Config, path: Path) -> None:
    own = dict(leaves(stored.model.model_dump()))
    lines = [
        f"\n  model.{key}: {value!r}, but the weights were trained with {own.get(key)!r}"
        for key, value in leaves(cfg.model.model_dump())
        if key not in FREE
        and None not in (value, own.get(key, value))
        and value != own.get(key)
        and not (value in SAME_AT_TEST and own.get(key) in SAME_AT_TEST)
    ]
    if lines:
        raise WeightsError(f"{path}: the configuration contradicts the weights:{''.join(lines)}")


def _classes(
    card: Mapping[str, str], cfg: Config, path: Path, count: int
) -> tuple[tuple[str, ...], tuple[int, ...], bool]:
    """Returns class names and category ids, from the file or numbered, and whether it has names."""
    asked = cfg.model.num_classes
    if asked is not None and asked != count:
        raise WeightsError(
            f"{path}: the weights have {count_of(count, 'class', 'classes')}, but"
            f" model.num_classes is {asked}"
        )
    names = class_names_in(card, str(path)) or tuple(f"class {i}" for i in range(count))
    ids = category_ids_in(card, str(path)) or tuple(range(1, count + 1))
    if len(names) != count or len(ids) != count:
        raise WeightsError(
            f"{path}: the weights have {count_of(count, 'class', 'classes')}, but the file has"
            f" {count_of(len(names), 'class name')} and {count_of(len(ids), 'category id')}"
        )
    return names, ids, CLASS_NAMES in card


def _class_count(stored: Stored) -> int:
    """Returns the number of foreground classes; the classifier has one more row, for background."""
    classifier = stored.tensors.get(CLASSIFIER)
    if classifier is None or classifier.dim() != 2 or len(classifier) < 2:
        found = "no such tensor" if classifier is None else f"shape {list(classifier.shape)}"
        raise WeightsError(
            f"{stored.source}: not a detector: expected {CLASSIFIER} with a row for each class and"
            f" the background, found {found}"
        )
    return len(classifier) - 1


def _without_initial_weights(cfg: Config) -> Config:
    """Returns the configuration without initial weights, so that they are not read needlessly."""
    backbone = cfg.model.backbone.model_copy(update={"weights": None})
    model = cfg.model.model_copy(update={"backbone": backbone, "weights": None})
    return cfg.model_copy(update={"model": model})
