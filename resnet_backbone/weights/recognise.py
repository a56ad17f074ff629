"""Finds out which of our networks a set of tensors belongs to, by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from resnet_backbone.backbone.resnet import Options, ResNet
from resnet_backbone.backbone.variants import BACKBONES, Variant

_BLOCK = re.compile(r"layer([1-4])\.(\d{1,4})\.")
# Buffers, and what options add to a network.
_NO_PART = re.compile(r"running|tracked|\.offset\.")
_FIRST = ("conv1.weight", "conv1.0.weight")
_PART = re.compile(r"layer[1-4]\.\d{1,4}\.|conv1\.|bn1\.")


def networks_like(tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns the networks with as many blocks per stage as `tensors` have, best fit first.

    If several networks have these numbers of blocks, those remain that have the largest share of
    parameters of the same name and shape; more than one only if these do not distinguish them.

    Args:
        tensors: Tensors under our names; there may be others among them.
    """
    shares = _shares(tensors)
    best = max(shares.values(), default=0.0)
    return [name for name, share in shares.items() if share == best and share > 0]


def described(tensors: Mapping[str, Tensor]) -> str:
    """Returns what `tensors` hold, for messages: "resnet50d", if exactly its parts are there.

    Parts beside its own, such as another attention, or other shapes make it "none of our networks
    (most like resnet50d)". Input channels and offsets of deformable convolutions are options.
    """
    names, shares = networks_like(tensors), _shares(tensors)
    if not names:
        return "none of our networks"
    text = " or ".join(names)
    return text if shares[names[0]] == 1 else f"none of our networks (most like {text})"


def is_of(tensors: Mapping[str, Tensor], name: str) -> bool:
    """Returns whether `tensors` are exactly those of a network of ours; True for other networks."""
    variant = _variants().get(name)
    return variant is None or _shares(tensors).get(name) == 1


def _shares(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns how well the networks fit that have as many blocks per stage."""
    counts: dict[int, int] = {}
    for name in tensors:
        if match := _BLOCK.match(name):
            stage, block = int(match[1]) - 1, int(match[2])
            counts[stage] = max(counts.get(stage, 0), block + 1)
    return {
        name: _share(name, variant, tensors)
        for name, variant in _variants().items()
        if all(count == dict(enumerate(variant.counts)).get(s) for s, count in counts.items())
        and counts
    }


def _variants() -> dict[str, Variant]:
    entries = {name: BACKBONES.get(name) for name in BACKBONES.names()}
    return {name: entry for name, entry in entries.items() if isinstance(entry, Variant)}


def _share(name: str, variant: Variant, tensors: Mapping[str, Tensor]) -> float:
    """Returns the fraction of all parameters that have the same name and shape in both."""
    with torch.device("meta"):
        parameters = dict(ResNet(name, variant, options=Options(norm="BN")).named_parameters())
    found = {n for n in tensors if _PART.match(n) and not _NO_PART.search(n)}
    # Of detectors on res4, the last stage is elsewhere.
    layers = {n.partition(".")[0] for n in found}
    own = {n: p for n, p in parameters.items() if n.partition(".")[0] in layers}
    equal = sum(n in found and _same_shape(n, tensors[n], p) for n, p in own.items())
    return equal / len(own.keys() | found)


def _same_shape(name: str, found: Tensor, own: Tensor) -> bool:
    """Compares shapes but for the input channels, which are an option."""
    if name in _FIRST and found.dim() == own.dim():
        return (found.shape[0], *found.shape[2:]) == (own.shape[0], *own.shape[2:])
    return found.shape == own.shape
