"""Converts a configuration of this package to detectron2's; inverse of `config.detectron2_yaml`."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, get_cfg

from resnet_backbone.config.schema import Config, DataConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.plugins.detectron2 import SECTION

PYRAMID = ["res2", "res3", "res4", "res5"]
_SCHEDULES = {"multistep": "WarmupMultiStepLR", "cosine": "WarmupCosineLR"}
# Features that detectron2's trainer lacks, with the values that do not need them.
_NOT_THERE: dict[str, tuple[Any, ...]] = {
    "solver.epochs": (None,),
    "data.exif": ("auto", "apply"),  # it applies the orientation, then checks the annotated size
    "data.max_pixels": (DataConfig().max_pixels,),  # Pillow's own limit is similar
    "data.bit_depth": ("auto",),  # it scales by the range of the type
    "data.on_bad_sample": ("error",),
    "data.check_images": (True,),  # detectron2 opens whatever Pillow knows
    "solver.optimizer": ("sgd",),
    "solver.schedule": tuple(_SCHEDULES),
    "solver.warmup_until_error": (None,),
    "solver.accumulate": (1,),
    "solver.amp": ("auto", "off", "fp16"),  # auto: float32, as by default there
    "solver.ema_decay": (None,),
    "evaluation.patience": (None,),
    "evaluation.max_detections": (100,),
    "model.allow_partial": ((),),
    "model.allow_extra": ((),),
    "model.class_layers": ("auto",),
    "model.settings": ("config",),  # of a whole detector, with which it does not start
}
# Features of our engine only; they do not affect the training itself, so they are ignored.
OURS_ALONE = (
    "evaluation.loss",
    "evaluation.pictures",
    "evaluation.progress_pictures",
    "evaluation.worst_pictures",
    "evaluation.color_by",
    "evaluation.batch_size",
)


def to_detectron2(cfg: Config, *, num_classes: int, device: str) -> CfgNode:
    """Returns detectron2's configuration for the same training.

    Args:
        cfg: The configuration, completed and scaled to its batch size.
        num_classes: Number of foreground classes in the dataset.
        device: "cpu" or "cuda".

    Raises:
        ConfigError: it needs features that detectron2's trainer lacks; the message lists the keys.
    """
    refuse_what_is_not_there(cfg)
    node = get_cfg()
    groups = (_backbone(cfg), _ARCHITECTURES[cfg.model.architecture](cfg), _proposals(cfg))
    rest = (_regions(cfg, num_classes), _data(cfg), _solver(cfg))
    for group in (*groups, *rest):
        for path, value in group.items():
            _assign(node, path, value)
    node.MODEL.DEVICE = device
    node.OUTPUT_DIR = cfg.output
    node.SEED = cfg.seed
    return node


def _assign(node: CfgNode, path: str, value: Any) -> None:  # noqa: ANN401
    """Sets an existing key; to 0 instead of 0.0 where yacs requires an integer."""
    *sections, key = path.split(".")
    for section in sections:
        node = node[section]
    if key not in node:
        raise KeyError(path)
    whole = isinstance(value, float) and value.is_integer()
    node[key] = int(value) if whole and type(node[key]) is int else value


def refuse_what_is_not_there(cfg: Config) -> None:
    """Raises ConfigError if `cfg` needs features that detectron2's trainer lacks."""
    lines = []
    for path, allowed in _NOT_THERE.items():
        value: Any = cfg
        for part in path.split("."):
            value = getattr(value, part)
        if value not in allowed:
            expected = " or ".join(map(repr, allowed))
            lines.append(f"{path}: found {value!r}, expected {expected} for engine detectron2")
    if cfg.data.flip not in (0.0, 0.5):
        lines.append(f"data.flip: found {cfg.data.flip}, expected 0 or 0.5 for engine detectron2")
    if lines:
        raise ConfigError("\n".join(lines))


def _backbone(cfg: Config) -> dict[str, Any]:
    backbone, pixels = cfg.model.backbone, cfg.model.pixels.settled()
    section = backbone.model_dump(exclude={"freeze_at", "options"})
    values = {f"MODEL.{SECTION}.{key.upper()}": value for key, value in section.items()}
    return values | {
        f"MODEL.{SECTION}.OPTIONS": CfgNode(dict(backbone.options), new_allowed=True),
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.WEIGHTS": "",
        "MODEL.BACKBONE.FREEZE_AT": backbone.freeze_at,
        "MODEL.PIXEL_MEAN": list(pixels.mean),
        "MODEL.PIXEL_STD": list(pixels.std),
        "INPUT.FORMAT": pixels.channel_order,
    }


def _fpn(cfg: Config) -> dict[str, Any]:
    return {
        "MODEL.BACKBONE.NAME": "build_rb_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": PYRAMID,
        "MODEL.FPN.IN_FEATURES": PYRAMID,
        "MODEL.FPN.OUT_CHANNELS": cfg.model.fpn_channels,
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        **_two_stage_heads(cfg),
    }


def _dc5(cfg: Config) -> dict[str, Any]:
    return {
        "MODEL.BACKBONE.NAME": "build_rb_resnet_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res5"],
        "MODEL.RESNETS.RES5_DILATION": 2,
        "MODEL.RPN.IN_FEATURES": ["res5"],
        "MODEL.ROI_HEADS.IN_FEATURES": ["res5"],
        **_two_stage_heads(cfg),
    }


def _c4(cfg: Config) -> dict[str, Any]:
    return {
        "MODEL.BACKBONE.NAME": "build_rb_resnet_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res4"],
        "MODEL.RPN.IN_FEATURES": ["res4"],
        "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
        "MODEL.ROI_HEADS.NAME": "RBRes5ROIHeads",
    }


_ARCHITECTURES = {"fpn": _fpn, "dc5": _dc5, "c4": _c4}


def _two_stage_heads(cfg: Config) -> dict[str, Any]:
    return {
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": cfg.model.roi.box_fc_layers,
        "MODEL.ROI_BOX_HEAD.FC_DIM": cfg.model.roi.box_fc_dim,
    }


def _proposals(cfg: Config) -> dict[str, Any]:
    rpn = cfg.model.rpn
    return {
        "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": rpn.min_box_size,
        "MODEL.ANCHOR_GENERATOR.SIZES": [list(level) for level in rpn.anchors.sizes],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(rpn.anchors.aspect_ratios)],
        "MODEL.RPN.IOU_THRESHOLDS": list(rpn.iou_thresholds),
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": rpn.samples_per_image,
        "MODEL.RPN.POSITIVE_FRACTION": rpn.positive_fraction,
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": rpn.pre_nms_topk_train,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": rpn.pre_nms_topk_test,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": rpn.post_nms_topk_train,
        "MODEL.RPN.POST_NMS_TOPK_TEST": rpn.post_nms_topk_test,
        "MODEL.RPN.NMS_THRESH": rpn.nms_threshold,
    }


def _regions(cfg: Config, num_classes: int) -> dict[str, Any]:
    roi = cfg.model.roi
    return {
        "MODEL.MASK_ON": cfg.model.mask,
        "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": roi.samples_per_image,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": roi.positive_fraction,
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [roi.iou_threshold],
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": roi.score_threshold,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": roi.nms_threshold,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": roi.box_pooler_resolution,
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": list(roi.box_weights),
        "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": roi.mask_pooler_resolution,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": roi.mask_conv_layers,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": roi.mask_conv_dim,
        "TEST.DETECTIONS_PER_IMAGE": roi.detections_per_image,
    }


def _data(cfg: Config) -> dict[str, Any]:
    data = cfg.data
    return {
        "INPUT.MIN_SIZE_TRAIN": list(data.min_sizes),
        "INPUT.MAX_SIZE_TRAIN": data.max_size,
        "INPUT.MIN_SIZE_TEST": data.test_min_size,
        "INPUT.MAX_SIZE_TEST": data.test_max_size,
        "INPUT.RANDOM_FLIP": "horizontal" if data.flip else "none",
        "DATALOADER.NUM_WORKERS": data.workers,
        "DATALOADER.ASPECT_RATIO_GROUPING": data.aspect_grouping,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": not data.keep_empty,
    }


def _solver(cfg: Config) -> dict[str, Any]:
    solver = cfg.solver
    values = {
        "SOLVER.IMS_PER_BATCH": solver.batch_size,
        "SOLVER.BASE_LR": solver.lr,
        "SOLVER.BASE_LR_END": solver.min_lr,
        "SOLVER.MOMENTUM": solver.momentum,
        "SOLVER.NESTEROV": solver.nesterov,
        "SOLVER.WEIGHT_DECAY": solver.weight_decay,
        "SOLVER.WEIGHT_DECAY_NORM": solver.weight_decay_norm,
        "SOLVER.WEIGHT_DECAY_BIAS": solver.weight_decay_bias,
        "SOLVER.LR_SCHEDULER_NAME": _SCHEDULES[solver.schedule],
        "SOLVER.MAX_ITER": solver.max_iter,
        "SOLVER.STEPS": [step for step in solver.milestones if step < solver.max_iter],
        "SOLVER.GAMMA": solver.gamma,
        "SOLVER.WARMUP_ITERS": min(solver.warmup_iters, solver.max_iter),
        "SOLVER.WARMUP_FACTOR": solver.warmup_factor,
        "SOLVER.AMP.ENABLED": solver.amp == "fp16",
        "SOLVER.CHECKPOINT_PERIOD": cfg.checkpoint.period,
        "TEST.EVAL_PERIOD": cfg.evaluation.period,
    }
    if solver.clip_grad_norm is not None:
        values |= {
            "SOLVER.CLIP_GRADIENTS.ENABLED": True,
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
            "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": solver.clip_grad_norm,
        }
    return values
