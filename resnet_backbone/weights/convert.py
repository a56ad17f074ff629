"""Weight files from one layout to another."""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.storage import write_file
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.fold import fold_input
from resnet_backbone.weights.layouts import from_ours, is_computed, unknown_names
from resnet_backbone.weights.stored import BACKBONE, Stored
from resnet_backbone.weights.targets import TARGETS, arch_of, facts_of, refuse_inexpressible

OURS = "safetensors"


def without(stored: Stored, patterns: Sequence[str]) -> tuple[Stored, int]:
    """Returns `stored` without the tensors that none of our networks has, and how many these are.

    Args:
        stored: What `read_weights` returned.
        patterns: Shell patterns of such names that may be left out.

    Raises:
        WeightsError: other tensors would be lost, or a pattern is like none of the names.
    """
    zeros = {name for name, tensor in stored.ignored.items() if not bool(tensor.any())}
    ignored = [name for name in stored.ignored if not (is_computed(name) or name in zeros)]
    extra = [*unknown_names(stored.tensors, stored.kind), *ignored]
    for pattern in patterns:
        if not fnmatch.filter(extra, pattern):
            raise WeightsError(
                f"{stored.source}: {pattern!r} is like none of the names without a place in our"
                f" networks: {listing(extra) or 'there are none'}"
            )
    left = [name for name in extra if not any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    if left:
        raise WeightsError(
            f"{stored.source}: {count_of(len(left), 'tensor')} without a place in our networks"
            f" would be lost: {listing(left)}; leave them out by --allow-extra PATTERN, or take the"
            " backbone of a detector alone by --backbone"
        )
    kept = {name: tensor for name, tensor in stored.tensors.items() if name not in extra}
    return replace(stored, tensors=kept), len(extra)


def fold(stored: Stored, channel_order: Literal["RGB", "BGR"], preset: WeightsCard) -> Stored:
    """Returns `stored`, backbone or detector, for pixels in another order and of another deviation.

    Raises:
        WeightsError: see `fold_input`.
    """
    if stored.card is None:
        raise WeightsError(f"{stored.source}: nothing is known about its pixels; state them")
    prefix = BACKBONE if stored.kind == "detector" else ""
    own = {n.removeprefix(prefix): t for n, t in stored.tensors.items() if n.startswith(prefix)}
    folded, card = fold_input(own, stored.card, channel_order=channel_order, std=preset.std)
    tensors = stored.tensors | {f"{prefix}{name}": tensor for name, tensor in folded.items()}
    return replace(stored, tensors=tensors, card=card)


def write_as(stored: Stored, path: str | Path, layout: str, arch: str | None = None) -> int:
    """Writes weights under the names of `layout`; an existing file is replaced as a whole.

    A `.safetensors` file holds the card too. A `.pth` file is a pickle of plain tensors, for
    detectron2 below the key "model", where its checkpointer looks. What a framework has to be told
    beside the weights is in `settings_for`.

    Args:
        stored: What `read_weights` returned.
        path: Where to, a `.safetensors` or `.pth` file.
        layout: "safetensors" for our names, or a key of `TARGETS`.
        arch: The network's name; None asks the card, or names and shapes.

    Returns:
        How many tensors were written.

    Raises:
        WeightsError: no such layout, a suffix that it has no use for, or the framework has no
            network that computes the same.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if layout in TARGETS:
        refuse_inexpressible(facts_of(stored, arch or arch_of(stored)), layout, stored.source)
    tensors = from_ours(stored.tensors, "ours" if layout == OURS else layout, stored.kind)
    suffixes = (".pth",) if layout == "detectron2" else (".safetensors", ".pth")
    if layout == OURS:
        suffixes = (".safetensors",)
    if path.suffix not in suffixes:
        raise WeightsError(f"{path}: expected a {' or '.join(suffixes)} file for {layout}")
    if path.suffix == ".safetensors":
        save_weights(tensors, path, stored.card or {})
    else:
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        content: dict[str, object] = {"model": plain} if layout == "detectron2" else {**plain}
        _write_pickle(content, path)
    return len(tensors)


def _write_pickle(content: Mapping[str, object], path: Path) -> None:
    memory = io.BytesIO()  # as torch would write a file's name into it
    torch.save(content, memory)
    write_file(path, memory.getvalue())
