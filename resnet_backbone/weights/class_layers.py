"""The layers that depend on the classes: matched by name, and drawn anew for other classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from resnet_backbone.utils.text import count_of, listing

ClassLayers = Literal["auto", "copy", "draw"]


class _Rows(NamedTuple):
    """How many rows of a layer belong to each class, and how many follow that belong to none."""

    per_class: int
    others: int


# By prefix of the layer's names. Detectors score the background too, and have four offsets per
# class.
_ROWS = {
    "fc.": _Rows(1, 0),
    "roi_heads.predictor.classifier.": _Rows(1, 1),
    "roi_heads.predictor.regressor.": _Rows(4, 0),
    "roi_heads.mask_head.predictor.": _Rows(1, 0),
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


def class_layers_in(names: Iterable[str]) -> list[str]:
    """Returns those of our names that are of layers with rows for each class."""
    return [name for name in names if _rows_of(name) is not None]


def class_count(tensors: Mapping[str, Tensor]) -> int | None:
    """Returns for how many classes the class layers are; None if there are none, or they differ."""
    counts = {
        (tensor.shape[0] - rows.others) / rows.per_class
        for name, tensor in tensors.items()
        if (rows := _rows_of(name)) is not None and tensor.dim() > 0
    }
    count = counts.pop() if len(counts) == 1 else 0.5
    return int(count) if count == int(count) else None


def in_order_of(
    state: Mapping[str, Tensor],
    own_classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> dict[str, Tensor]:
    """Returns a file's tensors with the rows of class layers in the order of a module's classes.

    Args:
        state: The file's tensors.
        own_classes: The module's class names, where known.
        file_classes: The file's class names, where known. Unless they are the same in another
            order, the tensors are returned as they are.
    """
    layers = {name: state[name] for name in class_layers_in(state)}
    if own_classes is None or file_classes is None or not are_permuted(own_classes, file_classes):
        return dict(state)
    if (class_count(layers) or 0) < len(file_classes):  # the shapes are then refused
        return dict(state)
    places = {name: place for place, name in enumerate(file_classes)}
    order = torch.tensor([places[name] for name in own_classes])
    return {**state, **{name: _reordered(name, tensor, order) for name, tensor in layers.items()}}


def _reordered(name: str, tensor: Tensor, order: Tensor) -> Tensor:
    rows = _rows_of(name) or _Rows(1, 0)
    of_classes = order[:, None] * rows.per_class + torch.arange(rows.per_class)
    return torch.cat((tensor[of_classes.flatten()], tensor[len(order) * rows.per_class :]))


def are_permuted(own: Sequence[str], file: Sequence[str]) -> bool:
    """Returns whether two lists have the same names, each once, in different orders."""
    same = sorted(own) == sorted(file) and len(set(own)) == len(own)
    return same and tuple(own) != tuple(file)


def _rows_of(name: str) -> _Rows | None:
    return next((rows for prefix, rows in _ROWS.items() if name.startswith(prefix)), None)


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
        state: The file's, by the same names, after `in_order_of`.
        mode: "copy" loads all class layers, "draw" none; "auto" loads them unless the file has
            another number of classes, other class names, or no class layers.
        own_classes: The module's class names, where known.
        file_classes: The file's class names, where known.
    """
    layers = set(class_layers_in(own))
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
    if own_classes is None or file_classes is None:
        return _NONE
    if tuple(own_classes) == tuple(file_classes) or are_permuted(own_classes, file_classes):
        return _NONE
    pairs = zip(file_classes, own_classes, strict=False)
    differing = [f"{other!r} for {mine!r}" for other, mine in pairs if other != mine]
    reason = f"{len(differing)} of {ours} classes have other names: {listing(differing, 3)}"
    return Redrawn(frozenset(layers), reason)


def _only(names: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in names if name in tensors}
