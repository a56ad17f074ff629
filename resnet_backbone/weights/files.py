"""Reads weight files without executing anything, and writes them completely or not at all."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import safe_open
from torch import Tensor, nn

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.storage import write_file
from resnet_backbone.utils.tensors import is_finite, pack
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.card import METADATA_KEY, WeightsCard
from resnet_backbone.weights.embedded import text_in
from resnet_backbone.weights.formats import read_content
from resnet_backbone.weights.wrappers import notes_in, state_dict_in

T = TypeVar("T")

_SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".pyth", ".pkl", ".npz", ".bin", ".ckpt")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")


def read_state_dict(path: str | Path, *, strip: bool = True) -> dict[str, Tensor]:
    """Reads a weight file into host memory, without running anything that it holds.

    `.pth` files go through torch's restricted unpickler, `.pkl` files through a reader that knows
    only arrays and plain containers. Classes of other libraries become blanks; whatever else a
    pickle names is refused before anything is read, and no option changes that. The format is
    recognised by the file's bytes, not by its name.

    Args:
        path: A file that torch.save wrote (`.pth`, `.pt`, `.th`, `.pyth`), detectron2's or Caffe2's
            `.pkl`, `.npz` or `.safetensors`.
        strip: Whether to remove prefixes such as "module." and to select the backbone of
            self-supervised training, see `state_dict_in`; dictionaries around the weights are
            opened in any case.

    Returns:
        The tensors by name, as stored.

    Raises:
        WeightsError: the file is missing, unreadable or damaged, or contains code or something
            else; the message has the file's name and the reason.
    """
    return read_weight_file(path, strip=strip).tensors


@dataclass(frozen=True)
class WeightFile:
    """What one reading of a weight file gives.

    Attributes:
        tensors: As `read_state_dict` returns them.
        text: As `read_metadata` returns it; of other formats than `.safetensors`,
            checkpoints of ours alone have any.
        notes: Short texts that a checkpoint stores beside its weights, see `notes_in`.
    """

    tensors: dict[str, Tensor]
    text: Mapping[str, str]
    notes: Mapping[str, str]


def read_weight_file(path: str | Path, *, strip: bool = True) -> WeightFile:
    """Reads tensors and text at once; arguments and errors are those of `read_state_dict`."""
    path = _existing(path)
    content = _read(path, read_content)
    text = content.text or text_in(content.value)
    # A card of ours says of which network the file is.
    notes = {} if METADATA_KEY in text else notes_in(content.value) | notes_in(content.text)
    return WeightFile(state_dict_in(content.value, str(path), strip=strip), text, notes)


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | Path,
    metadata: Mapping[str, str] | WeightsCard,
) -> None:
    """Writes a safetensors file; whatever happens, the old file or the new one is there.

    Args:
        weights: A module, or its state dict.
        path: The file, which is replaced if it exists. Folders are not created.
        metadata: Text to store with the tensors, for `read_metadata`; or a `WeightsCard`.

    Raises:
        WeightsError: a tensor contains NaN or infinity.
        StorageError: the file cannot be written.
    """
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    text = metadata.to_metadata() if isinstance(metadata, WeightsCard) else dict(metadata)
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise WeightsError(f"{path}: not saved, NaN or infinity in {listing(broken)}")
    write_file(Path(path), pack(tensors, text))


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the text stored in a `.safetensors` file; empty if there is none.

    Raises:
        WeightsError: the file is missing, damaged or of another format.
    """
    path = _existing(path)

    def metadata(path: Path) -> dict[str, str]:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}

    return _read(path, metadata)


def _existing(path: str | Path) -> Path:
    path = Path(os.path.expanduser(path))
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder{_weights_in(path)}")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file{_close_to(path)}")
    if (shard := _SHARD.search(path.name)) and int(shard[2]) > 1:
        raise WeightsError(
            f"{path}: is part {int(shard[1])} of {int(shard[2])} of a model; join the tensors of"
            " all parts in one file"
        )
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty")
    return path


def _weights_in(folder: Path) -> str:
    """Returns advice on which file of a folder to give."""
    files = sorted(p.name for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    return f"; give a file in it: {listing(files)}" if files else " without weight files in it"


def _close_to(path: Path) -> str:
    """Returns a question about a file of a similar name in the same folder, if there is one."""
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in _SUFFIXES)
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:
        # Parsers meet damaged bytes with whatever exception the bytes lead to.
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path}: not a readable weight file ({type(error).__name__}: {reason})"
        ) from error
