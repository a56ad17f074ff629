"""A table of detectron2's configuration keys and what each becomes in this package.

Keys and defaults are those of detectron2's config/defaults.py (git of June 2026, version 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ALWAYS, MASKS = "always", "masks"


@dataclass(frozen=True)
class Key:
    """How one key of detectron2 is handled.

    Attributes:
        default: detectron2's default; its type is the type that a written value must have.
        target: The key of this package that it sets, if it sets exactly one.
        convert: Converts the value: a table, or a function that raises ValueError with the expected
            values. None keeps the value.
        accepted: The only supported values, by the part of the model that reads the key: `ALWAYS`,
            `MASKS` if masks are on, or one of our architectures. If no part of the model reads the
            key, any value is accepted.
        reason: Why the value has no effect, or which setting it helps to determine.
    """

    default: Any
    target: str | None = None
    convert: Mapping[Any, Any] | Callable[[Any], Any] | None = None
    accepted: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reason: str = ""


def _to(target: str, default: Any, convert: Any = None) -> Key:  # noqa: ANN401
    return Key(default, target, convert)


def _only(default: Any, *others: Any) -> Key:  # noqa: ANN401
    """A key of which only detectron2's default, or one of `others`, is supported."""
    return Key(default, accepted={ALWAYS: (default, *others)})


def _only_for(default: Any, **accepted: Any) -> Key:  # noqa: ANN401
    return Key(default, accepted={part: (value,) for part, value in accepted.items()})


def _heads(default: Any, value: Any) -> Key:  # noqa: ANN401
    """A key read only by the heads of FPN and DC5; C4 uses res5 instead."""
    return _only_for(default, fpn=value, dc5=value)


def _masks(default: Any) -> Key:  # noqa: ANN401
    return _only_for(default, **{MASKS: default})


def _ignored(default: Any, reason: str) -> Key:  # noqa: ANN401
    return Key(default, reason=reason)


def _seed(value: int) -> int:
    return 0 if value == -1 else value  # -1 means a random seed; runs here always have a fixed one


def _sizes(value: Any) -> Any:  # noqa: ANN401
    """Returns one list of sizes per feature map; a plain list of sizes applies to all maps."""
    return value if value and all(isinstance(level, tuple) for level in value) else (value,)


def _one_list(value: Any) -> Any:  # noqa: ANN401
    levels = _sizes(value)
    if any(level != levels[0] for level in levels):
        raise ValueError("one list, the same for all feature maps")
    return levels[0]


def _one(value: Any) -> Any:  # noqa: ANN401
    if len(value) != 1:
        raise ValueError("one entry")
    return value[0]


_NO_KEYPOINTS = "keypoints are off, see MODEL.KEYPOINT_ON"
_NO_PROPOSALS = "proposals are not read from files, see MODEL.LOAD_PROPOSALS"
_NO_CASCADE = "only for CascadeROIHeads, see MODEL.ROI_HEADS.NAME"
_NO_SEGMENTATION = "only for SemanticSegmentor and PanopticFPN, see MODEL.META_ARCHITECTURE"
_NO_RETINANET = "only for RetinaNet, see MODEL.META_ARCHITECTURE"
_NO_CONVOLUTIONS = "the box head has no convolutions, see MODEL.ROI_BOX_HEAD.NUM_CONV"
_NOT_FEDERATED = "only for the federated loss, see MODEL.ROI_BOX_HEAD.USE_FED_LOSS"
_NOT_REPEATED = "only for RepeatFactorTrainingSampler, see DATALOADER.SAMPLER_TRAIN"
_NO_CROP = "cropping is off, see INPUT.CROP.ENABLED"
_NO_CLIPPING = "clipping is off, see SOLVER.CLIP_GRADIENTS.ENABLED"
_NO_TTA = "test-time augmentation is off, see TEST.AUG.ENABLED"
_ARCHITECTURE = "determines model.architecture"
_NETWORK = "determines model.backbone.name"
_DEFORMABLE = "determines model.backbone.deformable"

_PYRAMID = ("res2", "res3", "res4", "res5")
_NORMS = {name: name for name in ("FrozenBN", "BN", "SyncBN", "GN")}
_SCHEDULES = {"WarmupMultiStepLR": "multistep", "WarmupCosineLR": "cosine"}
_UNIT = (1.0, 1.0, 1.0, 1.0)

KEYS: dict[str, Key] = {
    "VERSION": _only(2),
    "OUTPUT_DIR": Key("./output", reason="sets output if it is written"),
    "SEED": _to("seed", -1, _seed),
    "CUDNN_BENCHMARK": _ignored(False, "only affects speed"),
    "FLOAT32_PRECISION": _only("", "highest"),  # torch's default
    "VIS_PERIOD": _ignored(0, "only affects the images in the log"),
    "GLOBAL.HACK": _ignored(1.0, "detectron2 does not read it either"),
    # --- data ---
    "INPUT.MIN_SIZE_TRAIN": _to("data.min_sizes", (800,)),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _only("choice"),
    "INPUT.MAX_SIZE_TRAIN": _to("data.max_size", 1333),
    "INPUT.MIN_SIZE_TEST": _to("data.test_min_size", 800),
    "INPUT.MAX_SIZE_TEST": _to("data.test_max_size", 1333),
    "INPUT.RANDOM_FLIP": _to("data.flip", "horizontal", {"horizontal": 0.5, "none": 0.0}),
    "INPUT.CROP.ENABLED": _only(False),
    "INPUT.CROP.TYPE": _ignored("relative_range", _NO_CROP),
    "INPUT.CROP.SIZE": _ignored((0.9, 0.9), _NO_CROP),
    "INPUT.FORMAT": _to("model.pixels.channel_order", "BGR", {"BGR": "BGR", "RGB": "RGB"}),
    "INPUT.MASK_FORMAT": _masks("polygon"),
    "DATASETS.TRAIN": Key((), reason="determines data.root and data.train"),
    "DATASETS.TEST": Key((), reason="determines data.root and data.val"),
    "DATASETS.PROPOSAL_FILES_TRAIN": _ignored((), _NO_PROPOSALS),
    "DATASETS.PROPOSAL_FILES_TEST": _ignored((), _NO_PROPOSALS),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": _ignored(2000, _NO_PROPOSALS),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": _ignored(1000, _NO_PROPOSALS),
    "DATALOADER.NUM_WORKERS": _to("data.workers", 4),
    "DATALOADER.ASPECT_RATIO_GROUPING": _to("data.aspect_grouping", True),
    "DATALOADER.SAMPLER_TRAIN": _only("TrainingSampler"),
    "DATALOADER.REPEAT_THRESHOLD": _ignored(0.0, _NOT_REPEATED),
    "DATALOADER.REPEAT_SQRT": _ignored(True, _NOT_REPEATED),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": _to("data.keep_empty", True, {True: False, False: True}),
    # --- backbone and neck ---
    "MODEL.META_ARCHITECTURE": _only("GeneralizedRCNN"),
    "MODEL.DEVICE": _to("device", "cuda", {"cuda": "auto", "cpu": "cpu"}),
    "MODEL.WEIGHTS": _to("model.weights", "", lambda value: value or None),
    "MODEL.LOAD_PROPOSALS": _only(False),
    "MODEL.MASK_ON": _to("model.mask", False),
    "MODEL.KEYPOINT_ON": _only(False),
    "MODEL.PIXEL_MEAN": _to("model.pixels.mean", (103.53, 116.28, 123.675)),
    "MODEL.PIXEL_STD": _to("model.pixels.std", (1.0, 1.0, 1.0)),
    "MODEL.BACKBONE.NAME": Key("build_resnet_backbone", reason=_ARCHITECTURE),
    "MODEL.BACKBONE.FREEZE_AT": _to("model.backbone.freeze_at", 2),
    "MODEL.RESNETS.DEPTH": Key(50, reason=_NETWORK),
    "MODEL.RESNETS.NUM_GROUPS": Key(1, reason=_NETWORK),
    "MODEL.RESNETS.WIDTH_PER_GROUP": Key(64, reason=_NETWORK),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": Key(256, reason=_NETWORK),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _only(64),
    "MODEL.RESNETS.OUT_FEATURES": _only_for(("res4",), fpn=_PYRAMID, c4=("res4",), dc5=("res5",)),
    "MODEL.RESNETS.NORM": _to("model.backbone.norm", "FrozenBN", _NORMS),
    "MODEL.RESNETS.STRIDE_IN_1X1": _to("model.backbone.stride_in_1x1", True),
    # C4's res5 is applied to regions, and detectron2 does not use this key for it.
    "MODEL.RESNETS.RES5_DILATION": _only_for(1, fpn=1, dc5=2),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": Key((False,) * 4, reason=_DEFORMABLE),
    "MODEL.RESNETS.DEFORM_MODULATED": Key(False, reason=_DEFORMABLE),
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": Key(1, reason=_DEFORMABLE),
    "MODEL.FPN.IN_FEATURES": _only_for((), fpn=_PYRAMID),
    "MODEL.FPN.OUT_CHANNELS": _to("model.fpn_channels", 256),
    "MODEL.FPN.NORM": _only_for("", fpn=""),
    "MODEL.FPN.FUSE_TYPE": _only_for("sum", fpn="sum"),
    # --- proposals ---
    "MODEL.PROPOSAL_GENERATOR.NAME": _only("RPN"),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": _to("model.rpn.min_box_size", 0),
    "MODEL.ANCHOR_GENERATOR.NAME": _only("DefaultAnchorGenerator"),
    "MODEL.ANCHOR_GENERATOR.SIZES": _to(
        "model.rpn.anchors.sizes", ((32, 64, 128, 256, 512),), _sizes
    ),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": _to(
        "model.rpn.anchors.aspect_ratios", ((0.5, 1.0, 2.0),), _one_list
    ),
    "MODEL.ANCHOR_GENERATOR.ANGLES": _ignored(((-90, 0, 90),), "only for RotatedAnchorGenerator"),
    "MODEL.ANCHOR_GENERATOR.OFFSET": _only(0.0),
    "MODEL.RPN.HEAD_NAME": _only("StandardRPNHead"),
    "MODEL.RPN.IN_FEATURES": _only_for(
        ("res4",), fpn=("p2", "p3", "p4", "p5", "p6"), c4=("res4",), dc5=("res5",)
    ),
    "MODEL.RPN.BOUNDARY_THRESH": _only(-1),
    "MODEL.RPN.IOU_THRESHOLDS": _to("model.rpn.iou_thresholds", (0.3, 0.7)),
    "MODEL.RPN.IOU_LABELS": _only((0, -1, 1)),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _to("model.rpn.samples_per_image", 256),
    "MODEL.RPN.POSITIVE_FRACTION": _to("model.rpn.positive_fraction", 0.5),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": _only("smooth_l1"),
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": _only(1.0),
    "MODEL.RPN.BBOX_REG_WEIGHTS": _only(_UNIT),
    "MODEL.RPN.SMOOTH_L1_BETA": _only(0.0),
    "MODEL.RPN.LOSS_WEIGHT": _only(1.0),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _to("model.rpn.pre_nms_topk_train", 12000),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _to("model.rpn.pre_nms_topk_test", 6000),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _to("model.rpn.post_nms_topk_train", 2000),
    "MODEL.RPN.POST_NMS_TOPK_TEST": _to("model.rpn.post_nms_topk_test", 1000),
    "MODEL.RPN.NMS_THRESH": _to("model.rpn.nms_threshold", 0.7),
    "MODEL.RPN.CONV_DIMS": _only((-1,)),
    # --- regions ---
    "MODEL.ROI_HEADS.NAME": Key("Res5ROIHeads", reason=_ARCHITECTURE),
    "MODEL.ROI_HEADS.NUM_CLASSES": _to("model.num_classes", 80),
    "MODEL.ROI_HEADS.IN_FEATURES": _only_for(
        ("res4",), fpn=("p2", "p3", "p4", "p5"), c4=("res4",), dc5=("res5",)
    ),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": _to("model.roi.iou_threshold", (0.5,), _one),
    "MODEL.ROI_HEADS.IOU_LABELS": _only((0, 1)),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _to("model.roi.samples_per_image", 512),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": _to("model.roi.positive_fraction", 0.25),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _to("model.roi.score_threshold", 0.05),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": _to("model.roi.nms_threshold", 0.5),
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": _only(True),
    "MODEL.ROI_BOX_HEAD.NAME": _heads("", "FastRCNNConvFCHead"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": _only("smooth_l1"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": _only(1.0),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": _to("model.roi.box_weights", (10.0, 10.0, 5.0, 5.0)),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": _only(0.0),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": _to("model.roi.box_pooler_resolution", 14),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": _only(0),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": _only("ROIAlignV2"),
    "MODEL.ROI_BOX_HEAD.NUM_FC": _to("model.roi.box_fc_layers", 0),
    "MODEL.ROI_BOX_HEAD.FC_DIM": _to("model.roi.box_fc_dim", 1024),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": _heads(0, 0),
    "MODEL.ROI_BOX_HEAD.CONV_DIM": _ignored(256, _NO_CONVOLUTIONS),
    "MODEL.ROI_BOX_HEAD.NORM": _ignored("", _NO_CONVOLUTIONS),
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": _only(False),
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": _heads(False, False),
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": _only(False),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": _only(False),
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER": _ignored(0.5, _NOT_FEDERATED),
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES": _ignored(50, _NOT_FEDERATED),
    "MODEL.ROI_MASK_HEAD.NAME": _masks("MaskRCNNConvUpsampleHead"),
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": _to("model.roi.mask_pooler_resolution", 14),
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": _masks(0),
    "MODEL.ROI_MASK_HEAD.NUM_CONV": _to("model.roi.mask_conv_layers", 0),
    "MODEL.ROI_MASK_HEAD.CONV_DIM": _to("model.roi.mask_conv_dim", 256),
    "MODEL.ROI_MASK_HEAD.NORM": _masks(""),
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": _masks(False),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": _masks("ROIAlignV2"),
    # --- solver ---
    "SOLVER.LR_SCHEDULER_NAME": _to("solver.schedule", "WarmupMultiStepLR", _SCHEDULES),
    "SOLVER.MAX_ITER": _to("solver.max_iter", 40000),
    "SOLVER.BASE_LR": _to("solver.lr", 0.001),
    "SOLVER.BASE_LR_END": _only(0.0),
    "SOLVER.MOMENTUM": _to("solver.momentum", 0.9),
    "SOLVER.NESTEROV": _only(False),
    "SOLVER.WEIGHT_DECAY": _to("solver.weight_decay", 0.0001),
    "SOLVER.WEIGHT_DECAY_NORM": _to("solver.weight_decay_norm", 0.0),
    "SOLVER.WEIGHT_DECAY_BIAS": _only(None),
    "SOLVER.BIAS_LR_FACTOR": _only(1.0),
    "SOLVER.GAMMA": _to("solver.gamma", 0.1),
    "SOLVER.STEPS": _to("solver.milestones", (30000,)),
    "SOLVER.NUM_DECAYS": _ignored(3, "only for WarmupStepWithFixedGammaLR, see LR_SCHEDULER_NAME"),
    "SOLVER.WARMUP_FACTOR": _to("solver.warmup_factor", 0.001),
    "SOLVER.WARMUP_ITERS": Key(1000, reason="solver.warmup_iters, limited to SOLVER.MAX_ITER"),
    "SOLVER.WARMUP_METHOD": _only("linear"),
    "SOLVER.RESCALE_INTERVAL": _only(False),
    "SOLVER.CHECKPOINT_PERIOD": _to("checkpoint.period", 5000),
    "SOLVER.IMS_PER_BATCH": Key(16, reason="solver.batch_size and solver.reference_batch_size"),
    "SOLVER.REFERENCE_WORLD_SIZE": _only(0),
    "SOLVER.CLIP_GRADIENTS.ENABLED": _only(False),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _ignored("value", _NO_CLIPPING),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _ignored(1.0, _NO_CLIPPING),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": _ignored(2.0, _NO_CLIPPING),
    "SOLVER.AMP.ENABLED": _to("solver.amp", False, {False: "off", True: "fp16"}),
    # --- evaluation ---
    "TEST.EXPECTED_RESULTS": _ignored((), "only compared with the results after the run"),
    "TEST.EVAL_PERIOD": _to("evaluation.period", 0),
    "TEST.KEYPOINT_OKS_SIGMAS": _ignored((), _NO_KEYPOINTS),
    "TEST.DETECTIONS_PER_IMAGE": _to("model.roi.detections_per_image", 100),
    "TEST.AUG.ENABLED": _only(False),
    "TEST.AUG.MIN_SIZES": _ignored((400, 500, 600, 700, 800, 900, 1000, 1100, 1200), _NO_TTA),
    "TEST.AUG.MAX_SIZE": _ignored(4000, _NO_TTA),
    "TEST.AUG.FLIP": _ignored(True, _NO_TTA),
    "TEST.PRECISE_BN.ENABLED": _only(False),
    "TEST.PRECISE_BN.NUM_ITER": _ignored(200, "precise BN is off, see TEST.PRECISE_BN.ENABLED"),
}

# Sections of features that are off; their keys may have any value.
_OFF = {
    "MODEL.ROI_BOX_CASCADE_HEAD": (_NO_CASCADE, ("BBOX_REG_WEIGHTS", "IOUS")),
    "MODEL.ROI_KEYPOINT_HEAD": (
        _NO_KEYPOINTS,
        (
            *("NAME", "POOLER_RESOLUTION", "POOLER_SAMPLING_RATIO", "CONV_DIMS", "NUM_KEYPOINTS"),
            *("MIN_KEYPOINTS_PER_IMAGE", "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS", "LOSS_WEIGHT"),
            "POOLER_TYPE",
        ),
    ),
    "MODEL.SEM_SEG_HEAD": (
        _NO_SEGMENTATION,
        (
            *("NAME", "IN_FEATURES", "IGNORE_VALUE", "NUM_CLASSES", "CONVS_DIM", "COMMON_STRIDE"),
            *("NORM", "LOSS_WEIGHT"),
        ),
    ),
    "MODEL.PANOPTIC_FPN": (
        _NO_SEGMENTATION,
        (
            *("INSTANCE_LOSS_WEIGHT", "COMBINE.ENABLED", "COMBINE.OVERLAP_THRESH"),
            *("COMBINE.STUFF_AREA_LIMIT", "COMBINE.INSTANCES_CONFIDENCE_THRESH"),
        ),
    ),
    "MODEL.RETINANET": (
        _NO_RETINANET,
        (
            *("NUM_CLASSES", "IN_FEATURES", "NUM_CONVS", "IOU_THRESHOLDS", "IOU_LABELS"),
            *("PRIOR_PROB", "SCORE_THRESH_TEST", "TOPK_CANDIDATES_TEST", "NMS_THRESH_TEST"),
            *("BBOX_REG_WEIGHTS", "FOCAL_LOSS_GAMMA", "FOCAL_LOSS_ALPHA", "SMOOTH_L1_LOSS_BETA"),
            *("BBOX_REG_LOSS_TYPE", "NORM"),
        ),
    ),
}
KEYS |= {
    f"{section}.{name}": _ignored(None, reason)
    for section, (reason, names) in _OFF.items()
    for name in names
}
