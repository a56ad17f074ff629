"""From the configuration to a detector: the only module here that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from resnet_backbone.backbone.build import create_backbone, create_res5
from resnet_backbone.backbone.resnet import ResNet
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.backbone.stage import Stage
from resnet_backbone.config.schema import BackboneConfig, Config, ModelConfig
from resnet_backbone.detection.anchors import AnchorGenerator
from resnet_backbone.detection.box_head import BoxPredictor, FCHead, MeanHead
from resnet_backbone.detection.fpn import FPN
from resnet_backbone.detection.mask_head import MaskHead
from resnet_backbone.detection.pooling import MultiLevelRoIAlign
from resnet_backbone.detection.rcnn import RCNN, TakeStage
from resnet_backbone.detection.roi_heads import RegionPooler, RoIHeads, RoISettings
from resnet_backbone.detection.rpn import RPN
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.load import load_weights


@dataclass(frozen=True)
class _Trunk:
    """What the heads stand on: `specs` describes the maps that `neck` returns."""

    backbone: nn.Module
    neck: nn.Module
    specs: list[FeatureSpec]
    pooled_levels: int
    res5: Stage | None = None


def build_detector(cfg: Config, num_classes: int | None = None) -> RCNN:
    """Returns the detector that `cfg` describes, float32, channels_last, on the CPU.

    Args:
        cfg: The run's configuration.
        num_classes: Foreground classes of the dataset; needed where `cfg.model.num_classes` is not
            set.

    Raises:
        ConfigError: The two class counts contradict each other, or neither is known; or the
            architecture does not fit the backbone or the anchors.
        WeightsError: `cfg.model.backbone.weights` cannot be loaded completely.
    """
    model = cfg.model
    classes = _class_count(model, num_classes)
    trunk = _TRUNKS[model.architecture](model)
    detector = RCNN(
        trunk.backbone,
        trunk.neck,
        _build_rpn(model, trunk),
        _build_roi_heads(model, trunk, classes),
        pixel_mean=model.pixels.mean,
        pixel_std=model.pixels.std,
        channel_order=model.pixels.channel_order,
    )
    return detector.to(memory_format=torch.channels_last)


def _class_count(model: ModelConfig, found: int | None) -> int:
    if model.num_classes and found and model.num_classes != found:
        raise ConfigError(
            f"model.num_classes is {model.num_classes}, but the annotations name {found} classes; "
            "leave the key out to take the number from the annotations"
        )
    classes = found or model.num_classes
    if classes is None:
        raise ConfigError("model.num_classes is not set and there are no annotations to count from")
    return classes


def _fpn_trunk(model: ModelConfig) -> _Trunk:
    backbone = _backbone(model.backbone, ("res2", "res3", "res4", "res5"))
    specs = backbone.feature_specs()
    neck = FPN({name: spec.channels for name, spec in specs.items()}, model.fpn_channels)
    strides = [spec.stride for spec in specs.values()]
    levels = [FeatureSpec(model.fpn_channels, s) for s in (*strides, 2 * strides[-1])]
    return _Trunk(backbone, neck, levels, pooled_levels=len(strides))


def _dc5_trunk(model: ModelConfig) -> _Trunk:
    backbone = _backbone(model.backbone, ("res5",), output_stride=16)
    spec = backbone.feature_specs()["res5"]
    return _Trunk(backbone, TakeStage("res5"), [spec], pooled_levels=1)


def _c4_trunk(model: ModelConfig) -> _Trunk:
    """The paper's own design: res4 is shared, res5 works on each region."""
    options = model.backbone
    backbone = _backbone(options, ("res4",))
    res5 = create_res5(options.name, norm=options.norm, stride_in_1x1=options.stride_in_1x1)
    if options.weights is not None:
        load_weights(res5, options.weights, prefix="layer4.", arch=options.name)
    spec = backbone.feature_specs()["res4"]
    return _Trunk(backbone, TakeStage("res4"), [spec], pooled_levels=1, res5=res5)


_TRUNKS = {"fpn": _fpn_trunk, "dc5": _dc5_trunk, "c4": _c4_trunk}


def _backbone(options: BackboneConfig, stages: tuple[str, ...], output_stride: int = 32) -> ResNet:
    return create_backbone(
        options.name,
        weights=options.weights,
        out_features=stages,
        norm=options.norm,
        freeze_at=options.freeze_at,
        stride_in_1x1=options.stride_in_1x1,
        output_stride=output_stride,
    )


def _build_rpn(model: ModelConfig, trunk: _Trunk) -> RPN:
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


def _build_roi_heads(model: ModelConfig, trunk: _Trunk, num_classes: int) -> RoIHeads:
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


def _align(resolution: int, trunk: _Trunk) -> MultiLevelRoIAlign:
    return MultiLevelRoIAlign(
        resolution, [spec.stride for spec in trunk.specs[: trunk.pooled_levels]]
    )
