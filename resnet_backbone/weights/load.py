"""Loads weights into modules: completely, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.backbone.from_timm import TimmBackbone
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.resnet import ResNet
from resnet_backbone.backbone.stage import Stage
from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.tensors import is_finite
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights.agreement import refuse_network_built_otherwise
from resnet_backbone.weights.class_layers import (
    ClassLayers,
    are_permuted,
    class_layers_in,
    in_order_of,
    redrawn,
)
from resnet_backbone.weights.metadata import class_names_in
from resnet_backbone.weights.other_parts import refuse_unused_parts
from resnet_backbone.weights.recognise import described, networks_like
from resnet_backbone.weights.report import LoadReport, Shape
from resnet_backbone.weights.stored import Stored, read_plain, read_weights

logger = logging.getLogger(__name__)

_CLASSIFIER = ("fc.", "norm.")  # of classifiers; backbones have none
_FIRST = ("conv1.weight", "conv1.0.weight")  # what sees the pixels


def load_weights(
    module: nn.Module,
    source: str | Path | Stored,
    *,
    prefix: str = "",
    arch: str | None = None,
    allow_partial: Sequence[str] = (),
    allow_extra: Sequence[str] = (),
    class_layers: ClassLayers = "auto",
    class_names: Sequence[str] | None = None,
) -> LoadReport:
    """Copies weights from a file into `module`, converting names and dtype.

    Every parameter must be covered, and every vector of a batch normalisation: the statistics of
    other weights are of no use. Other buffers are copied if the file has them. A backbone takes the
    backbone of a detector's file; heads that it lacks are left out, but not parts of its stages.
    The offsets of deformable convolutions may be missing if all of them are: they start at zero.

    Fine-tuning on other classes needs no argument: if the file has another number of classes, other
    class names or no class layers, then those layers keep their initial values, and a warning says
    so. If it has the same names in another order, their rows are matched by name; if it has none, a
    warning says that they are taken in the order of `class_names`.

    If a network has other input channels than the file's RGB, the first convolution is repeated
    over them and scaled by 3 / C, which keeps the mean of its sums; for one channel it is summed,
    which is exact for grey images (timm/models/_manipulate.py, adapt_input_conv).

    Args:
        module: The module to fill; unchanged if an error is raised.
        source: What `read_weights` takes, or what it returned.
        prefix: Takes only the names that start with it, without it: "layer4." for `create_res5`.
        arch: torchvision's name of the architecture; None takes the backbone's own name.
        allow_partial: Shell patterns of names that may be missing or have another shape; such
            tensors keep their values.
        allow_extra: Shell patterns of the file's names that the network may lack although they are
            parts of its stages, such as attention or offsets.
        class_layers: "auto" as described above; "copy" takes the class layers also of other class
            names, by their numbers, and refuses other shapes; "draw" never takes them.
        class_names: The module's classes, to compare with those that the file names.

    Returns:
        What was loaded and what was not.

    Raises:
        WeightsError: the file cannot be read, is for another network, does not cover the module,
            has parts that the network lacks, or contains values that no trained network has.
    """
    stored = source if isinstance(source, Stored) else _read(module, source, arch)
    if isinstance(module, ResNet):
        refuse_network_built_otherwise(stored, module.variant, module.options)
    name, own = stored.source, module.state_dict()
    state, reshaped = _adapted(own, _below(prefix, _part_for(module, stored)))
    file_classes = class_names_in(stored.text, name)
    state = in_order_of(state, class_names, file_classes)
    kept = redrawn(own, state, class_layers, own_classes=class_names, file_classes=file_classes)
    state = {key: tensor for key, tensor in state.items() if key not in kept.names}
    needed = [key for key in _needed(module, state) if key not in kept.names]
    report = replace(
        _compare(own, needed, state, isinstance(module, (ResNet, Stage))),
        reshaped=reshaped,
        redrawn=tuple(key for key in own if key in kept.names),
        layout=stored.layout,
        card=stored.card,
    )
    _refuse_other_architecture(module, state, name, report)
    _refuse_incomplete(report, name, allow_partial)
    refuse_unused_parts(module, report.unexpected, state, name, allow_extra)
    _refuse_values(own, {key: state[key] for key in report.loaded}, name)
    with torch.no_grad():
        for key in report.loaded:
            own[key].copy_(state[key])
    _log(report, name, kept.reason)
    if class_layers != "draw" and not kept.names:
        _say_whose_rows(report, name, class_names, file_classes)
    return report


def _log(report: LoadReport, source: str, reason: str) -> None:
    logger.info("%s (%s): %s", source, report.layout, report)
    if report.redrawn:
        logger.warning(
            "%s: %s; drawn at random: %s, %s (class_layers=copy or draw changes this)",
            *(source, reason, count_of(len(report.redrawn), "tensor"), listing(report.redrawn, 8)),
        )


def _say_whose_rows(
    report: LoadReport,
    source: str,
    own_classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> None:
    """Logs that rows of class layers were matched by name, or could not be."""
    if own_classes is None or not class_layers_in(report.loaded):
        return
    if file_classes is None:
        logger.warning(
            "%s: does not name its classes; its class layers are taken in the order of the model's"
            " %d: %s (class_layers=draw draws them anew)",
            *(source, len(own_classes), listing(own_classes, 3)),
        )
    elif are_permuted(own_classes, file_classes):
        logger.info(
            "%s: its %d classes are in another order than the model's; the rows of its class layers"
            " are matched by name",
            *(source, len(file_classes)),
        )


def _read(module: nn.Module, source: str | Path, arch: str | None) -> Stored:
    """Reads weights in any layout for our own networks, and under their own names for others."""
    arch = arch or getattr(module, "name", None)
    ours = isinstance(module, (ResNet, Stage)) or hasattr(module, "roi_heads")
    return read_weights(source, arch) if ours else read_plain(source, arch)


def _part_for(module: nn.Module, stored: Stored) -> dict[str, Tensor]:
    """Returns the tensors that are meant for a module of its kind."""
    if isinstance(module, TimmBackbone):
        return module.own_names(stored.tensors)
    if not isinstance(module, (ResNet, Stage)):
        return stored.tensors
    return stored.backbone()


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}


def _needed(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of parameters and of batch normalisations' buffers except counters."""
    norms = (FrozenBatchNorm2d, nn.modules.batchnorm._BatchNorm)
    buffers = [
        name
        for name, _ in module.named_buffers()
        if isinstance(module.get_submodule(name.rpartition(".")[0]), norms)
        and not name.endswith("num_batches_tracked")
    ]
    offsets = {
        f"{name}.offset.{kind}"
        for name, layer in module.named_modules()
        if isinstance(layer, DeformConv2d)
        for kind in ("weight", "bias")
    }
    optional = set() if offsets & state.keys() else offsets
    return [n for n in (*dict(module.named_parameters()), *buffers) if n not in optional]


def _adapted(
    own: Mapping[str, Tensor], state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[tuple[str, Shape, Shape], ...]]:
    """Fits the first convolution to the module's input channels."""
    for name in _FIRST:
        if name not in own or name not in state or own[name].dim() != 4:
            continue
        found, wanted = tuple(state[name].shape), tuple(own[name].shape)
        only_inputs_differ = (found[0], *found[2:]) == (wanted[0], *wanted[2:])
        if found != wanted and only_inputs_differ and found[1] == 3:
            return state | {name: _for_inputs(state[name], wanted[1])}, ((name, found, wanted),)
    return state, ()


def _for_inputs(weight: Tensor, channels: int) -> Tensor:
    """Maps float[K, 3, h, w] to float[K, channels, h, w]."""
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight[:, torch.arange(channels) % 3]
    return repeated * (3 / channels)


def _compare(
    own: Mapping[str, Tensor], needed: Sequence[str], state: Mapping[str, Tensor], backbone: bool
) -> LoadReport:
    common = [name for name in own if name in state]
    ignored = _CLASSIFIER if backbone else ()
    return LoadReport(
        loaded=tuple(name for name in common if own[name].shape == state[name].shape),
        missing=tuple(name for name in needed if name not in state),
        unexpected=tuple(
            name
            for name in state
            if name not in own
            and not name.startswith(ignored)
            and not name.endswith("num_batches_tracked")
        ),
        mismatched=tuple(
            (name, tuple(state[name].shape), tuple(own[name].shape))
            for name in common
            if own[name].shape != state[name].shape
        ),
    )


def _refuse_other_architecture(
    module: nn.Module, state: Mapping[str, Tensor], source: str, report: LoadReport
) -> None:
    """Refuses another network; all shapes of ResNet-50 are also found in ResNet-101."""
    similar = networks_like(state) if isinstance(module, ResNet) else []
    if similar and module.name not in similar:
        raise WeightsError(f"{source}: holds {described(state)}, expected {module.name} ({report})")
    normalised = {name.removesuffix("weight") + "running_mean" for name in report.loaded}
    foreign = [name for name in report.unexpected if name in normalised]
    if foreign:
        raise WeightsError(
            f"{source}: holds batch normalisation, but the model normalises without statistics"
            f" ({listing(foreign)}); expected norm BN, FrozenBN or SyncBN"
        )


def _refuse_incomplete(report: LoadReport, source: str, allow_partial: Sequence[str]) -> None:
    def allowed(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in allow_partial)

    lacking = replace(
        report,
        missing=tuple(name for name in report.missing if not allowed(name)),
        mismatched=tuple(entry for entry in report.mismatched if not allowed(entry[0])),
    )
    if lacking.missing or lacking.mismatched:
        raise WeightsError(
            f"{source}: does not cover the model; {lacking}; its names are closest to the layout"
            f" {report.layout!r}"
        )


def _refuse_values(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Refuses values that are not finite after conversion, which may overflow."""
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point != own[name].dtype.is_floating_point:
            raise WeightsError(f"{source}: {name} is {tensor.dtype}, expected {own[name].dtype}")
        values = tensor.to(own[name].dtype)
        if not is_finite(values):
            raise WeightsError(f"{source}: {name} holds NaN or infinity")
        if name.endswith("running_var") and bool((values < 0).any()):
            raise WeightsError(f"{source}: {name} holds negative variances")
