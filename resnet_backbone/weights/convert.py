"""Weight files from one layout to another."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.storage import write_file
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.fold import fold_input
from resnet_backbone.weights.layouts import from_ours
from resnet_backbone.weights.stored import BACKBONE, Stored

OURS = "safetensors"


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


def write_as(stored: Stored, path: str | Path, layout: str) -> int:
    """Writes weights under the names of `layout`; an existing file is replaced as a whole.

    A `.safetensors` file holds the card too. A `.pth` file is a pickle of plain tensors, for
    detectron2 below the key "model", where its checkpointer looks.

    Args:
        stored: What `read_weights` returned.
        path: Where to, a `.safetensors` or `.pth` file.
        layout: "safetensors" for our names, or a layout that `from_ours` knows.

    Returns:
        How many tensors were written.

    Raises:
        WeightsError: no such layout, or a suffix that it has no use for.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if layout == OURS:
        tensors = stored.tensors
    else:
        tensors = from_ours(stored.tensors, layout, stored.kind)
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
