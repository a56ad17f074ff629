"""Builds a detector from its configuration."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from resnet_backbone.config.schema import Config, ModelConfig
from resnet_backbone.detection.anchors import AnchorGenerator
from resnet_backbone.detection.box_head import BoxPredictor, FCHead, MeanHead
from resnet_backbone.detection.mask_head import MaskHead
from resnet_backbone.detection.pooling import MultiLevelRoIAlign
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.detection.roi_heads import RegionPooler, RoIHeads, RoISettings
from resnet_backbone.detection.rpn import RPN
from resnet_backbone.detection.settle import read_initial_weights, settle_detector
from resnet_backbone.detection.trunk import Trunk, build_trunk
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.imports import import_modules
from resnet_backbone.utils.text import count_of
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored


def build_detector(
    cfg: Config,
    num_classes: int | None = None,
    *,
    weights: Stored | None = None,
    class_names: Sequence[str] | None = None,
) -> RCNN:
    """Returns the detector that `cfg` describes: float32, channels_last, on the CPU.

    Args:
        cfg: The run's configuration.
        num_classes: Number of foreground classes in the dataset; required unless
            `cfg.model.num_classes` is set.
        weights: The weights that `cfg` names, if they have already been read.
        class_names: Names of the dataset's classes, where known: a detector's weights that name
            other classes give no class layers, see `load_weights`.

    Raises:
        ConfigError: the two class counts differ, or neither is known; the architecture does not fit
            the backbone or the anchors; or the configuration contradicts the card of the weights.
        WeightsError: the weights to start from cannot be loaded, or lack parameters.
    """
    import_modules(cfg.imports)
    weights = weights or read_initial_weights(cfg.model)
    model = settle_detector(cfg, weights).model
    classes = _class_count(model, num_classes)
    whole = weights is not None and weights.kind == "detector"
    trunk = build_trunk(model, None if whole else weights)
    pixels = model.pixels.settled()
    detector = RCNN(
        trunk.backbone,
        trunk.neck,
        _build_rpn(model, trunk),
        _build_roi_heads(model, trunk, classes),
        pixel_mean=pixels.mean,
        pixel_std=pixels.std,
        channel_order=pixels.channel_order,
        size_divisor=trunk.size_divisor,
    )
    if weights is not None and whole:
        load_weights(
            detector,
            weights,
            allow_partial=model.allow_partial,
            allow_extra=model.allow_extra,
            class_layers=model.class_layers,
            class_names=class_names,
        )
    return detector.to(memory_format=torch.channels_last)


def _class_count(model: ModelConfig, found: int | None) -> int:
    if model.num_classes and found and model.num_classes != found:
        raise ConfigError(
            f"model.num_classes is {model.num_classes}, but the annotations have "
            f"{count_of(found, 'class', 'classes')}; "
            "remove this key to take the number from the annotations"
        )
    classes = found or model.num_classes
    if classes is None:
        raise ConfigError("model.num_classes is not set, and there are no annotations to count in")
    return classes


def _build_rpn(model: ModelConfig, trunk: Trunk) -> RPN:
    settings = model.rpn
    strides = [spec.stride for spec in trunk.specs]
    try:
        anchors = AnchorGenerator(strides, settings.anchors.sizes, settings.anchors.aspect_ratios)
    except ValueError as error:
        raise ConfigError(f"model.rpn.anchors.sizes: {error}") from error
    return RPN(
        trunk.specs[0].channels,
        anchors,
        iou_thresholds=settings.iou_thresholds,
        samples_per_image=settings.samples_per_image,
        positive_fraction=settings.positive_fraction,
        pre_nms_topk=(settings.pre_nms_topk_train, settings.pre_nms_topk_test),
        post_nms_topk=(settings.post_nms_topk_train, settings.post_nms_topk_test),
        nms_threshold=settings.nms_threshold,
        min_box_size=settings.min_box_size,
    )


def _build_roi_heads(model: ModelConfig, trunk: Trunk, num_classes: int) -> RoIHeads:
    roi = model.roi
    box_pooler = RegionPooler(_align(roi.box_pooler_resolution, trunk), trunk.res5)
    box_head: FCHead | MeanHead
    if trunk.res5 is None:
        region_channels = trunk.specs[0].channels
        cells = roi.box_pooler_resolution**2
        box_head = FCHead(region_channels * cells, roi.box_fc_dim, roi.box_fc_layers)
        mask_pooler = RegionPooler(_align(roi.mask_pooler_resolution, trunk))
    else:
        region_channels = trunk.res5.out_channels
        box_head = MeanHead(region_channels)
        mask_pooler = None
    mask_head = None
    if model.mask:
        mask_head = MaskHead(
            region_channels,
            channels=roi.mask_conv_dim,
            layers=roi.mask_conv_layers,
            num_classes=num_classes,
        )
    return RoIHeads(
        box_pooler,
        box_head,
        BoxPredictor(box_head.out_features, num_classes, roi.box_weights),
        RoISettings(
            samples_per_image=roi.samples_per_image,
            positive_fraction=roi.positive_fraction,
            iou_threshold=roi.iou_threshold,
            score_threshold=roi.score_threshold,
            nms_threshold=roi.nms_threshold,
            detections_per_image=roi.detections_per_image,
        ),
        mask_pooler if model.mask else None,
        mask_head,
    )


def _align(resolution: int, trunk: Trunk) -> MultiLevelRoIAlign:
    return MultiLevelRoIAlign(
        resolution, [spec.stride for spec in trunk.specs[: trunk.pooled_levels]]
    )
