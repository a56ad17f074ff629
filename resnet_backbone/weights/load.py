"""Weights into modules: everything that must be there is, or nothing is changed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.agreement import refuse_network_built_otherwise
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.recognise import networks_like
from resnet_backbone.weights.stored import Stored, read_plain, read_weights

logger = logging.getLogger(__name__)

_CLASSIFIER = ("fc.", "norm.")  # of classifiers; backbones have none
_FIRST = ("conv1.weight", "conv1.0.weight")  # what sees the pixels

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What a file and a module had in common, by our names.

    Attributes:
        loaded: Names that were copied.
        missing: Names of the module that the file lacks and should have.
        unexpected: Names of the file that the module lacks, the classifier's apart.
        mismatched: (name, shape in the file, shape in the module) where these differ.
        reshaped: Likewise, of those that were adapted: the first convolution to other inputs.
        layout: How the file names its tensors, see `weights.layouts`.
        card: What is known about the weights, None where nothing is.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, Shape, Shape], ...]
    reshaped: tuple[tuple[str, Shape, Shape], ...] = ()
    layout: str = "torchvision"
    card: WeightsCard | None = None

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors fit"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {listing(self.missing)}")
        for text, entries in (
            ("of another shape", self.mismatched),
            ("adapted", self.reshaped),
        ):
            if entries:
                shapes = [f"{name} {list(file)} for {list(own)}" for name, file, own in entries]
                parts.append(f"{len(shapes)} {text}: {listing(shapes)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} not used: {listing(self.unexpected)}")
        return "; ".join(parts)


def load_weights(
    module: nn.Module,
    source: str | Path | Stored,
    *,
    prefix: str = "",
    arch: str | None = None,
    allow_partial: Sequence[str] = (),
) -> LoadReport:
    """Copies weights from a file into `module`, converting names and dtype.

    Every parameter must be covered, and every vector of a batch normalisation: statistics of other
    weights are worth nothing. Other buffers are copied where the file has them. For a backbone, the
    classifier is ignored, and of a detector's file the backbone is taken. Offsets of deformable
    convolutions may be missing all together: they begin at zero, as they should on such weights.

    Where a network has other input channels than the file's RGB, the first convolution is repeated
    over them and scaled by 3 / C, which keeps the mean of its sums; for one channel it is summed,
    which is exact for grey images (timm/models/_manipulate.py, adapt_input_conv).

    Args:
        module: What to fill; unchanged if an error is raised.
        source: What `read_weights` takes, or what it returned.
        prefix: Takes the names that start so, without it: "layer4." for `create_res5`.
        arch: torchvision's name of the architecture; by default the backbone's own name.
        allow_partial: Shell patterns of names that may be missing or have another shape; such
            tensors keep their values.

    Returns:
        What was loaded and what was not.

    Raises:
        WeightsError: the file cannot be read, is of another network, does not cover the module, or
            holds values that no trained network has.
    """
    stored = source if isinstance(source, Stored) else _read(module, source, arch)
    if isinstance(module, ResNet):
        refuse_network_built_otherwise(stored, module.variant, module.options)
    name = stored.source
    state = _below(prefix, _part_for(module, stored))
    own = module.state_dict()
    state, reshaped = _adapted(own, state)
    report = replace(
        _compare(own, _needed(module, state), state, isinstance(module, (ResNet, Stage))),
        reshaped=reshaped,
        layout=stored.layout,
        card=stored.card,
    )
    _refuse_other_architecture(module, state, name, report)
    _refuse_incomplete(report, name, allow_partial)
    _refuse_values(own, {key: state[key] for key in report.loaded}, name)
    with torch.no_grad():
        for key in report.loaded:
            own[key].copy_(state[key])
    logger.info("%s (%s): %s", name, report.layout, report)
    return report


def _read(module: nn.Module, source: str | Path, arch: str | None) -> Stored:
    """Our own networks' names are known in many layouts; others' are taken as they are."""
    arch = arch or getattr(module, "name", None)
    ours = isinstance(module, (ResNet, Stage)) or hasattr(module, "roi_heads")
    return read_weights(source, arch) if ours else read_plain(source, arch)


def _part_for(module: nn.Module, stored: Stored) -> dict[str, Tensor]:
    """The tensors that are meant for a module of its kind."""
    if isinstance(module, TimmBackbone):
        return module.own_names(stored.tensors)
    if not isinstance(module, (ResNet, Stage)):
        return stored.tensors
    return stored.backbone()


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}


def _needed(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Names of the parameters, and of the batch normalisations' buffers but their counters."""
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
    """Refuses another network, although all shapes of ResNet-50 are also found in ResNet-101."""
    similar = networks_like(state) if isinstance(module, ResNet) else []
    if similar and module.name not in similar:
        raise WeightsError(
            f"{source}: holds {' or '.join(similar)}, expected {module.name} ({report})"
        )
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
    """Refuses what would turn to NaN: judged after conversion, which may overflow."""
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point != own[name].dtype.is_floating_point:
            raise WeightsError(f"{source}: {name} is {tensor.dtype}, expected {own[name].dtype}")
        values = tensor.to(own[name].dtype)
        if not is_finite(values):
            raise WeightsError(f"{source}: {name} holds NaN or infinity")
        if name.endswith("running_var") and bool((values < 0).any()):
            raise WeightsError(f"{source}: {name} holds negative variances")
