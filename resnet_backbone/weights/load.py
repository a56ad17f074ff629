"""Weights into modules: everything that must be there is, or nothing is changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.stage import Stage
from resnet_backbone.backbone.build import get_variant, list_backbones
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.resnet import ResNet
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.files import is_finite, listing, read_state_dict, state_dict_in

logger = logging.getLogger(__name__)

_TORCHVISION = "torchvision/"
_DETECTOR_PREFIX = "backbone."  # where our detectors keep their backbone
_CLASSIFIER_PREFIX = "fc."  # of ImageNet; backbones have none


@dataclass(frozen=True)
class LoadReport:
    """What a file and a module had in common.

    Attributes:
        loaded: Names that were copied.
        missing: Names of the module that the file lacks and should have.
        unexpected: Names of the file that the module lacks, the classifier's apart.
        mismatched: (name, shape in the file, shape in the module) where these differ.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors fit"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {listing(self.missing)}")
        if self.mismatched:
            shapes = [f"{name} {list(file)} for {list(own)}" for name, file, own in self.mismatched]
            parts.append(f"{len(shapes)} of another shape: {listing(shapes)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} not used: {listing(self.unexpected)}")
        return "; ".join(parts)


def load_weights(
    module: nn.Module,
    source: str | Path,
    *,
    prefix: str = "",
    arch: str | None = None,
    allow_partial: Sequence[str] = (),
) -> LoadReport:
    """Copies weights from a file into `module`, converting their dtype.

    Every parameter must be covered, and every vector of a batch normalisation: statistics of other
    weights are worth nothing. Other buffers are copied where the file has them. For a backbone, the
    classifier `fc` is ignored, and of our detectors' files the backbone is taken.

    Args:
        module: What to fill; unchanged if an error is raised.
        source: A file for `read_state_dict`, or "torchvision/NAME" with NAME one of torchvision's
            weights for the architecture ("IMAGENET1K_V1"), downloaded once.
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
    source = str(source)
    if source.startswith(_TORCHVISION):
        state = _download(source, arch or getattr(module, "name", None))
    else:
        state = read_state_dict(source)
    if isinstance(module, (ResNet, Stage)) and any(n.startswith(_DETECTOR_PREFIX) for n in state):
        state = _below(_DETECTOR_PREFIX, state)
    state = _below(prefix, state)

    own = module.state_dict()
    report = _compare(own, _needed(module), state)
    _refuse_other_network(module, state, source, report)
    _refuse_incomplete(report, source, allow_partial)
    _refuse_values(own, {name: state[name] for name in report.loaded}, source)
    with torch.no_grad():
        for name in report.loaded:
            own[name].copy_(state[name])
    logger.info("%s: %s", source, report)
    return report


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensor for n, tensor in state.items() if n.startswith(prefix)}


def _needed(module: nn.Module) -> list[str]:
    """Names of the parameters, and of the batch normalisations' buffers but their counters."""
    norms = (FrozenBatchNorm2d, nn.modules.batchnorm._BatchNorm)
    buffers = [
        name
        for name, _ in module.named_buffers()
        if isinstance(module.get_submodule(name.rpartition(".")[0]), norms)
        and not name.endswith("num_batches_tracked")
    ]
    return [name for name, _ in module.named_parameters()] + buffers


def _compare(
    own: Mapping[str, Tensor], needed: Sequence[str], state: Mapping[str, Tensor]
) -> LoadReport:
    common = [name for name in own if name in state]
    return LoadReport(
        loaded=tuple(name for name in common if own[name].shape == state[name].shape),
        missing=tuple(name for name in needed if name not in state),
        unexpected=tuple(
            name
            for name in state
            if name not in own
            and not name.startswith(_CLASSIFIER_PREFIX)
            and not name.endswith("num_batches_tracked")
        ),
        mismatched=tuple(
            (name, tuple(state[name].shape), tuple(own[name].shape))
            for name in common
            if own[name].shape != state[name].shape
        ),
    )


def _refuse_other_network(
    module: nn.Module, state: Mapping[str, Tensor], source: str, report: LoadReport
) -> None:
    """Refuses another depth, although all shapes of ResNet-50 are also found in ResNet-101."""
    similar = _networks_like(state) if isinstance(module, ResNet) else []
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


def _networks_like(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the registered networks whose blocks are those that the names of `state` tell of."""
    counts: dict[int, int] = {}
    for name in state:
        if match := re.match(r"layer([1-4])\.(\d{1,4})\.", name):
            stage, block = int(match[1]) - 1, int(match[2])
            counts[stage] = max(counts.get(stage, 0), block + 1)
    if not counts:
        return []
    bottleneck = any(re.match(r"layer\d\.\d+\.conv3\.", name) for name in state)
    variants = {name: get_variant(name) for name in list_backbones()}
    return [
        name
        for name, variant in variants.items()
        if (variant.block.expansion == 4) == bottleneck
        and all(variant.counts[stage] == count for stage, count in counts.items())
    ]


def _refuse_incomplete(report: LoadReport, source: str, allow_partial: Sequence[str]) -> None:
    def allowed(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in allow_partial)

    lacking = replace(
        report,
        missing=tuple(name for name in report.missing if not allowed(name)),
        mismatched=tuple(entry for entry in report.mismatched if not allowed(entry[0])),
    )
    if lacking.missing or lacking.mismatched:
        raise WeightsError(f"{source}: does not cover the model; {lacking}")


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


def _download(spec: str, arch: str | None) -> dict[str, Tensor]:
    """Returns torchvision's weights, from torch.hub's cache or the network."""
    # torchvision takes seconds to import and is of no use to whoever loads a file.
    from torchvision.models import get_model_weights

    tag = spec.removeprefix(_TORCHVISION)
    try:
        weights = get_model_weights(arch or "")
        known = list(weights.__members__)
    except ValueError:
        raise WeightsError(f"{spec}: torchvision has no architecture {arch!r}") from None
    if tag not in known:
        raise WeightsError(f"{spec}: no such weights for {arch}, expected one of {known}")
    url = weights[tag].url
    try:
        content = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:
        # Offline, a wrong hash, or a damaged file in the cache: each has its own exceptions.
        raise WeightsError(
            f"{spec}: cannot get {url} ({type(error).__name__}: {error}); give a file that you"
            " have, or set model.backbone.weights=null to start from random weights"
        ) from error
    return state_dict_in(content, spec)
