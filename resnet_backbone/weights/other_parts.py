"""Parts of a file that a network lacks: heads may be left out, parts of the network may not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from resnet_backbone.backbone.from_timm import TimmBackbone
from resnet_backbone.backbone.resnet import ResNet, stage_names
from resnet_backbone.backbone.stage import Stage
from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.text import count_of, listing

# Modules that stand behind a backbone, by the names that they have in training scripts. The
# backbone computes the same without them.
_HEADS = frozenset(
    "fc norm head heads classifier aux_classifier auxiliary_head decode_head decoder linear"
    " last_linear last_layer logits output segmentation_head sem_seg_head classification_head"
    " cls_head projector projection projection_head projection_mlp predictor prediction_head"
    " prototypes queue queue_ptr mlp neck fpn bbox_head mask_head rpn rpn_head roi_head roi_heads"
    " proposal_generator transformer class_embed bbox_embed query_embed input_proj criterion loss"
    " avgpool pool dropout pixel_mean pixel_std".split()
)
# Of detectors: heads beside the one for boxes, which finds the same boxes without them.
_BESIDE_BOXES = ("roi_heads.mask_head.", "roi_heads.keypoint_", "sem_seg_head.")
_CONVOLUTIONS_BIAS = re.compile(r"(?:^|\.)(?:conv\d(?:\.\d)?|downsample\.[01])\.bias$")


def refuse_unused_parts(
    module: nn.Module,
    unexpected: Collection[str],
    state: Mapping[str, Tensor],
    source: str,
    allow_extra: Collection[str],
) -> None:
    """Raises WeightsError if the file has tensors without which it computes something else.

    Args:
        module: What is filled.
        unexpected: The file's names that the module lacks.
        state: The file's tensors.
        source: The file's name, for messages.
        allow_extra: Shell patterns of names that may be left out.
    """
    lost = [
        name
        for name in unexpected
        if not any(fnmatchcase(name, pattern) for pattern in allow_extra)
        and not _is_zero_bias(name, state[name])
        and not _may_be_left_out(module, name)
    ]
    if lost:
        raise WeightsError(
            f"{source}: has {count_of(len(lost), 'tensor')} of parts that the network lacks:"
            f" {listing(lost)}; build the network with them{_hint(lost)}, or name them in"
            f" allow_extra={_patterns(lost)!r} to load the file without"
        )


def _may_be_left_out(module: nn.Module, name: str) -> bool:
    first, _, rest = name.partition(".")
    if isinstance(module, Stage):
        return False
    if isinstance(module, ResNet):
        if first == "backbone":  # of a network that its script calls so
            first = rest.partition(".")[0]
        stages = [f"layer{index + 1}" for index in range(len(stage_names(module.variant)))]
        return first in _HEADS or (first in stages and not hasattr(module, first))
    if isinstance(module, TimmBackbone):
        flat = f"{name.replace('.', '_')}_"
        return not any(flat.startswith(f"{child}_") for child in _children(module.body))
    if hasattr(module, "roi_heads"):
        own = tuple(module.state_dict())
        return any(name.startswith(p) and not _any_starts(own, p) for p in _BESIDE_BOXES)
    return first not in _children(module)


def _children(module: nn.Module) -> list[str]:
    """Returns the names of the children, and those of a child called "model"."""
    names = [name for name, _ in module.named_children()]
    inner = module.get_submodule("model") if "model" in names else None
    return names if inner is None else [*names, *(name for name, _ in inner.named_children())]


def _any_starts(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _is_zero_bias(name: str, tensor: Tensor) -> bool:
    """Returns whether it is the bias of a convolution, which a norm follows, and adds nothing."""
    return _CONVOLUTIONS_BIAS.search(name) is not None and not bool(tensor.any())


def _hint(names: Collection[str]) -> str:
    if any(".offset." in name for name in names):
        stages = sorted({int(found[1]) for n in names if (found := re.search(r"layer(\d)\.", n))})
        return f" (deformable={[f'res{stage + 1}' for stage in stages]!r})"
    return ""


def _patterns(names: Collection[str]) -> list[str]:
    """Returns short patterns for `names`: numbers become stars."""
    found = dict.fromkeys(re.sub(r"\d+", "*", name.rpartition(".")[0]) + ".*" for name in names)
    return list(found)[:3]
