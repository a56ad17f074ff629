"""Weight files: read without executing anything, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.weights.card import WeightsCard

T = TypeVar("T")

# Keys under which training scripts store the weights beside their other state.
_WRAPPERS = ("state_dict", "model")
_PARALLEL_PREFIX = "module."  # (Distributed)DataParallel's


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads a weight file into host memory.

    `.pth` and `.pt` go through torch's restricted unpickler, which admits tensors and plain
    containers alone; there is no way around it. Wrappers called "state_dict" or "model" and the
    "module." prefix of parallel training are taken off.

    Args:
        path: A `.safetensors`, `.pth` or `.pt` file.

    Returns:
        Names and tensors, as stored.

    Raises:
        WeightsError: the file is missing, unreadable, damaged or holds something else; names file
            and reason.
    """
    path = _existing(path)
    content: object
    if path.suffix == ".safetensors":
        content = _read(path, safetensors.torch.load_file)
    elif path.suffix in (".pth", ".pt"):
        content = _read(path, _load_pickled)
    else:
        raise WeightsError(f"{path}: expected a .safetensors, .pth or .pt file")
    return state_dict_in(content, str(path))


def state_dict_in(content: object, source: str) -> dict[str, Tensor]:
    """Returns the state dict inside what a checkpoint file held, without its wrappers.

    Args:
        content: The unpickled object.
        source: What to call the file in errors.

    Raises:
        WeightsError: there is no state dict in it, or one that holds more than dense tensors.
    """
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{source}: expected a dictionary of tensors, found {_kind(content)}")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_dense(value):
            raise WeightsError(
                f"{source}: expected dense tensors, found {_kind(value)} at {name!r}"
            )
    if all(name.startswith(_PARALLEL_PREFIX) for name in content):
        return {name.removeprefix(_PARALLEL_PREFIX): value for name, value in content.items()}
    return dict(content)


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | Path,
    metadata: Mapping[str, str] | WeightsCard,
) -> None:
    """Writes a safetensors file that is, whatever happens, either the old one or the new one.

    Args:
        weights: A module, or its state dict.
        path: Where to; an existing file is replaced. Folders are not made.
        metadata: Text to store along, for `read_metadata`; a `WeightsCard` does as well.

    Raises:
        WeightsError: a tensor holds NaN or infinity; a file of those would spread them.
        StorageError: the file cannot be written.
    """
    tensors = weights.state_dict() if isinstance(weights, nn.Module) else weights
    text = metadata.to_metadata() if isinstance(metadata, WeightsCard) else dict(metadata)
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise WeightsError(f"{path}: not saved, NaN or infinity in {listing(broken)}")
    # Copies: safetensors stores neither strided views nor two names of the same memory.
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    try:
        _replace(Path(path), safetensors.torch.save(plain, text))
    except OSError as error:
        raise StorageError(f"{path}: cannot write weights: {error}") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the text stored with a `.safetensors` file, empty where there is none.

    Raises:
        WeightsError: the file is missing, damaged or of another format.
    """
    path = _existing(path)

    def metadata(path: Path) -> dict[str, str]:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}

    return _read(path, metadata)


def is_finite(tensor: Tensor) -> bool:
    """Tells whether `tensor` holds neither NaN nor infinity."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def listing(names: Collection[str], limit: int = 5) -> str:
    """Returns the first few names for a message, and how many there are beyond them."""
    shown = ", ".join(list(names)[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty")
    return path


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except Exception as error:
        # Parsers meet damaged bytes with whatever exception the bytes lead to.
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path}: not a readable weight file ({type(error).__name__}: {reason})"
        ) from error


def _load_pickled(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_dense(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_quantized
    )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.layout} {value.dtype} tensor on {value.device}"
    return "nothing" if isinstance(value, Mapping) and not value else type(value).__name__


def _replace(path: Path, content: bytes) -> None:
    """Writes `content` beside `path` and renames it into place; both are on disk afterwards."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
