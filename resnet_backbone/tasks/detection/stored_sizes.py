"""Compares the sizes in a file's configuration with its tensors, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from resnet_backbone.config.schema import ModelConfig
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.stored import Stored

_OUTPUT = "neck.output.res2.weight"
_OBJECTNESS = "rpn.objectness.weight"
_FCS = "roi_heads.box_head.fcs."
_CONVS = "roi_heads.mask_head.convs."


def refuse_other_sizes(model: ModelConfig, stored: Stored) -> None:
    """Raises WeightsError if the detector would have other sizes than the tensors.

    A file could otherwise make us build a network of any size before its tensors are found not to
    fit.

    Args:
        model: The configuration's section `model`.
        stored: The detector's weights.
    """
    lines = [
        f"\n  model.{key}: {size}, but the tensors have {found}"
        for key, size, found in _sizes(model, stored.tensors)
        if found is not None and size != found
    ]
    if lines:
        raise WeightsError(
            f"{stored.source}: its configuration is another network's:{''.join(lines)}"
        )


def _sizes(
    model: ModelConfig, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, int, int | None]]:
    """Yields the key of each size, its value and what the tensors have; None if nothing shows."""
    roi, anchors = model.roi, model.rpn.anchors
    if model.architecture == "fpn":
        yield "fpn_channels", model.fpn_channels, _rows(tensors, _OUTPUT)
    per_cell = max(map(len, anchors.sizes)) * len(anchors.aspect_ratios)
    yield "rpn.anchors (per cell)", per_cell, _rows(tensors, _OBJECTNESS)
    if model.architecture != "c4":
        yield "roi.box_fc_layers", roi.box_fc_layers, _count(tensors, _FCS)
        yield "roi.box_fc_dim", roi.box_fc_dim, _rows(tensors, f"{_FCS}0.weight")
        if model.architecture == "fpn" and f"{_FCS}0.weight" in tensors:
            inputs = tensors[f"{_FCS}0.weight"].shape[-1]
            cells = roi.box_pooler_resolution**2
            yield "roi.box_pooler_resolution squared", cells, inputs // model.fpn_channels
    if model.mask:
        yield "roi.mask_conv_layers", roi.mask_conv_layers, _count(tensors, _CONVS)
        yield "roi.mask_conv_dim", roi.mask_conv_dim, _rows(tensors, f"{_CONVS}0.weight")


def _rows(tensors: Mapping[str, Tensor], name: str) -> int | None:
    return tensors[name].shape[0] if name in tensors and tensors[name].dim() > 1 else None


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith(".weight") for name in tensors)
