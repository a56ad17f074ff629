"""The layers that depend on the classes, which fine-tuning on other classes draws anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from resnet_backbone.utils.text import count_of, listing

ClassLayers = Literal["auto", "copy", "draw"]

# Prefix of the layer's names -> how many classes its rows are for. Detectors score the background
# too, and have four offsets per class.
_COUNTS: dict[str, Callable[[int], float]] = {
    "fc.": lambda rows: rows,
    "roi_heads.predictor.classifier.": lambda rows: rows - 1,
    "roi_heads.predictor.regressor.": lambda rows: rows / 4,
    "roi_heads.mask_head.predictor.": lambda rows: rows,
}
# Of pre-activation classifiers, the norm in front of the last layer; backbones lack it.
_LAST_NORM = "norm."


@dataclass(frozen=True)
class Redrawn:
    """Class layers that are not copied.

    Attributes:
        names: Their tensors.
        reason: For messages; empty if there are none.
    """

    names: frozenset[str]
    reason: str = ""


_NONE = Redrawn(frozenset())


def class_count(tensors: Mapping[str, Tensor]) -> int | None:
    """Returns for how many classes the class layers are; None if there are none, or they differ."""
    counts = {
        count(tensor.shape[0])
        for name, tensor in tensors.items()
        for prefix, count in _COUNTS.items()
        if name.startswith(prefix) and tensor.dim() > 0
    }
    count = counts.pop() if len(counts) == 1 else 0.5
    return int(count) if count == int(count) else None


def redrawn(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    mode: ClassLayers,
    *,
    own_classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> Redrawn:
    """Returns the class layers that should keep their initial values.

    Args:
        own: The module's tensors.
        state: The file's, by the same names.
        mode: "copy" loads all class layers, "draw" none; "auto" loads them unless the file has
            another number of classes, other class names, or no class layers.
        own_classes: The module's class names, where known.
        file_classes: The file's class names, where known.
    """
    layers = {name for name in own if name.startswith(tuple(_COUNTS))}
    if mode == "copy" or not layers:
        return _NONE
    if mode == "draw":
        return Redrawn(frozenset(layers), "class_layers is 'draw'")
    if not layers & state.keys():
        last_norm = {n for n in own if n.startswith(_LAST_NORM) and n not in state}
        return Redrawn(frozenset(layers | last_norm), "the file has no class layers")
    theirs, ours = class_count(_only(layers, state)), class_count(_only(layers, own))
    if theirs is not None and ours is not None and theirs != ours:
        has = count_of(theirs, "class", "classes")
        return Redrawn(frozenset(layers), f"the file has {has}, the model {ours}")
    if own_classes is None or file_classes is None or tuple(own_classes) == tuple(file_classes):
        return _NONE
    pairs = zip(file_classes, own_classes, strict=False)
    differing = [f"{other!r} for {mine!r}" for other, mine in pairs if other != mine]
    reason = f"{len(differing)} of {ours} classes have other names: {listing(differing, 3)}"
    return Redrawn(frozenset(layers), reason)


def _only(names: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in names if name in tensors}
