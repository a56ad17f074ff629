"""How frameworks name the parameters of Faster and Mask R-CNN, and where they put the background.

Sources: detectron2/modeling (FPN, RPN, StandardROIHeads, Res5ROIHeads) and, for Detectron's Caffe2
files, checkpoint/c2_model_loading.py; mmdet/models; torchvision/models/detection. Box offsets,
flattening and, with one size per level, the order of anchors are the same in all of them.
torchvision rounds its anchors and pools unaligned, so that its weights give us detections that
differ a little from its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from resnet_backbone.weights.backbone_names import CAFFE2, DETECTRON2, OURS
from resnet_backbone.weights.backbone_names import MMDET as MMDET_BACKBONE
from resnet_backbone.weights.name_rules import Rule, rules

_HEAD = "roi_heads.predictor."
_RES5 = "roi_heads.box_pooler.res5."
_MASK = "roi_heads.mask_head."
# COCO numbers its 80 classes from 1 to 90 and leaves these out; torchvision has outputs for all.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_COCO_OUTPUTS = 91


def _below(prefix: str, table: Sequence[Rule]) -> list[tuple[str, str]]:
    return [(prefix + rule.theirs, f"backbone.{rule.ours}") for rule in table]


def _res5(stage: str, head: str, table: Sequence[Rule]) -> list[tuple[str, str]]:
    """The stage that C4 detectors run on regions: what is called `stage` in the table is `head`."""
    return [
        (rule.theirs.replace(stage, head), rule.ours.replace("layer{s}.", _RES5))
        for rule in table
        if "layer{s}." in rule.ours
    ]


_DETECTRON2_HEADS = (
    ("backbone.fpn_lateral{p}.{x}", "neck.lateral.res{p}.{x}"),
    ("backbone.fpn_output{p}.{x}", "neck.output.res{p}.{x}"),
    ("proposal_generator.rpn_head.conv.{x}", "rpn.conv.{x}"),
    ("proposal_generator.rpn_head.objectness_logits.{x}", "rpn.objectness.{x}"),
    ("proposal_generator.rpn_head.anchor_deltas.{x}", "rpn.offsets.{x}"),
    ("roi_heads.box_head.fc{k}.{x}", "roi_heads.box_head.fcs.{k-1}.{x}"),
    ("roi_heads.box_predictor.cls_score.{x}", f"{_HEAD}classifier.{{x}}"),
    ("roi_heads.box_predictor.bbox_pred.{x}", f"{_HEAD}regressor.{{x}}"),
    ("roi_heads.mask_head.mask_fcn{k}.{x}", f"{_MASK}convs.{{k-1}}.{{x}}"),
    ("roi_heads.mask_head.deconv.{x}", f"{_MASK}deconv.{{x}}"),
    ("roi_heads.mask_head.predictor.{x}", f"{_MASK}predictor.{{x}}"),
)
DETECTRON2_FPN = rules(*_below("backbone.bottom_up.", DETECTRON2), *_DETECTRON2_HEADS)
DETECTRON2_PLAIN = rules(
    *_below("backbone.", DETECTRON2),
    *_res5("res{s+1}.", "roi_heads.res5.", DETECTRON2),
    *_DETECTRON2_HEADS,
)
MMDET = rules(
    ("neck.lateral_convs.{i}.conv.{x}", "neck.lateral.res{i+2}.{x}"),
    ("neck.fpn_convs.{i}.conv.{x}", "neck.output.res{i+2}.{x}"),
    ("rpn_head.rpn_conv.{x}", "rpn.conv.{x}"),
    ("rpn_head.rpn_cls.{x}", "rpn.objectness.{x}"),
    ("rpn_head.rpn_reg.{x}", "rpn.offsets.{x}"),
    ("roi_head.bbox_head.shared_fcs.{i}.{x}", "roi_heads.box_head.fcs.{i}.{x}"),
    ("roi_head.bbox_head.fc_cls.{x}", f"{_HEAD}classifier.{{x}}"),
    ("roi_head.bbox_head.fc_reg.{x}", f"{_HEAD}regressor.{{x}}"),
    ("roi_head.mask_head.convs.{i}.conv.{x}", f"{_MASK}convs.{{i}}.{{x}}"),
    ("roi_head.mask_head.upsample.{x}", f"{_MASK}deconv.{{x}}"),
    ("roi_head.mask_head.conv_logits.{x}", f"{_MASK}predictor.{{x}}"),
    *((r.theirs, f"backbone.{r.ours}") for r in MMDET_BACKBONE if r.theirs != "head.fc.{x}"),
    *_res5("backbone.layer{s}.", "roi_head.shared_head.layer4.", MMDET_BACKBONE),
)
# Of each pair the first is how torchvision writes today, the second how it did before 0.14.
TORCHVISION = rules(
    ("backbone.fpn.inner_blocks.{i}.0.{x}", "neck.lateral.res{i+2}.{x}"),
    ("backbone.fpn.inner_blocks.{i}.{x}", "neck.lateral.res{i+2}.{x}"),
    ("backbone.fpn.layer_blocks.{i}.0.{x}", "neck.output.res{i+2}.{x}"),
    ("backbone.fpn.layer_blocks.{i}.{x}", "neck.output.res{i+2}.{x}"),
    ("rpn.head.conv.0.0.{x}", "rpn.conv.{x}"),
    ("rpn.head.conv.{x}", "rpn.conv.{x}"),
    ("rpn.head.cls_logits.{x}", "rpn.objectness.{x}"),
    ("rpn.head.bbox_pred.{x}", "rpn.offsets.{x}"),
    # Two layers, no more.
    ("roi_heads.box_head.fc6.{x}", "roi_heads.box_head.fcs.0.{x}"),
    ("roi_heads.box_head.fc7.{x}", "roi_heads.box_head.fcs.1.{x}"),
    ("roi_heads.box_predictor.cls_score.{x}", f"{_HEAD}classifier.{{x}}"),
    ("roi_heads.box_predictor.bbox_pred.{x}", f"{_HEAD}regressor.{{x}}"),
    ("roi_heads.mask_head.{i}.0.{x}", f"{_MASK}convs.{{i}}.{{x}}"),
    ("roi_heads.mask_head.mask_fcn{i}.{x}", f"{_MASK}convs.{{i-1}}.{{x}}"),
    ("roi_heads.mask_predictor.conv5_mask.{x}", f"{_MASK}deconv.{{x}}"),
    ("roi_heads.mask_predictor.mask_fcn_logits.{x}", f"{_MASK}predictor.{{x}}"),
    *_below("backbone.body.", OURS),
)
# Of detectors in detectron2 on networks of ours that it lacks, which are a module's `net` there.
# RetinaNet's pyramid has more levels than ours.
PLUGIN_FPN = rules(
    ("backbone.bottom_up.net.{r}", "backbone.{r}"),
    ("backbone.top_block.{r}", "neck.top_block.{r}"),
)
PLUGIN_PLAIN = rules(
    ("backbone.net.{r}", "backbone.{r}"), *_res5("layer{s}.", "roi_heads.res5.", OURS)
)
OURS_WHOLE = rules(
    *((ours, ours) for _, ours in _DETECTRON2_HEADS),
    *_res5("layer{s}.", _RES5, OURS),
    *_below("backbone.", OURS),
)


def _caffe2() -> tuple[Rule, ...]:
    """Detectron's names end in _w and _b; its FPN shares the proposal head of level 2."""
    names = [
        *(("conv_rpn_fpn2", "rpn.conv"), ("conv_rpn", "rpn.conv")),
        *(("rpn_cls_logits_fpn2", "rpn.objectness"), ("rpn_cls_logits", "rpn.objectness")),
        *(("rpn_bbox_pred_fpn2", "rpn.offsets"), ("rpn_bbox_pred", "rpn.offsets")),
        ("fpn_inner_res{p}_{b}_sum_lateral", "neck.lateral.res{p}"),
        ("fpn_inner_res{p}_{b}_sum", "neck.lateral.res{p}"),
        ("fpn_res{p}_{b}_sum", "neck.output.res{p}"),
        *(("fc6", "roi_heads.box_head.fcs.0"), ("fc7", "roi_heads.box_head.fcs.1")),
        *(("cls_score", f"{_HEAD}classifier"), ("bbox_pred", f"{_HEAD}regressor")),
        ("_[mask]_fcn{k}", f"{_MASK}convs.{{k-1}}"),
        *(("conv5_mask", f"{_MASK}deconv"), ("mask_fcn_logits", f"{_MASK}predictor")),
    ]
    pairs = [(f"{theirs}_w", f"{ours}.weight") for theirs, ours in names]
    pairs += [(f"{theirs}_b", f"{ours}.bias") for theirs, ours in names]
    return rules(*pairs, *_below("", CAFFE2))


CAFFE2_DETECTOR = _caffe2()


def caffe2_c4(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Moves res5 of a detector without a pyramid to the regions' head."""
    if any(name.startswith("neck.") for name in tensors):
        return dict(tensors)
    return {name.replace("backbone.layer4.", _RES5): t for name, t in tensors.items()}


def background_last(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Brings class scores from background first to background last; it has no boxes or masks."""
    converted = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{_HEAD}classifier."):
            tensor = torch.cat((tensor[1:], tensor[:1]))
        elif name.startswith(f"{_HEAD}regressor."):
            tensor = tensor[4:]
        elif name.startswith(f"{_MASK}predictor."):
            tensor = tensor[1:]
        converted[name] = tensor
    return converted


def background_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undoes `background_last`; the background's boxes and masks, never used, are zeros."""
    converted = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{_HEAD}classifier."):
            tensor = torch.cat((tensor[-1:], tensor[:-1]))
        elif name.startswith(f"{_HEAD}regressor."):
            tensor = torch.cat((torch.zeros_like(tensor[:4]), tensor))
        elif name.startswith(f"{_MASK}predictor."):
            tensor = torch.cat((torch.zeros_like(tensor[:1]), tensor))
        converted[name] = tensor
    return converted


def without_coco_gaps(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Selects COCO's 80 classes from torchvision's 91 outputs, background first in both."""
    classifier = tensors.get(f"{_HEAD}classifier.bias")
    if classifier is None or len(classifier) != _COCO_OUTPUTS:
        return dict(tensors)
    kept = torch.tensor([i for i in range(_COCO_OUTPUTS) if i not in _COCO_GAPS])
    boxes = (4 * kept[:, None] + torch.arange(4)).flatten()
    selected = dict(tensors)
    for name, rows in (
        (f"{_HEAD}classifier", kept),
        (f"{_HEAD}regressor", boxes),
        (f"{_MASK}predictor", kept),
    ):
        for part in ("weight", "bias"):
            if f"{name}.{part}" in tensors:
                selected[f"{name}.{part}"] = tensors[f"{name}.{part}"][rows]
    return selected
