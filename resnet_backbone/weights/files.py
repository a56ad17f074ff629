"""Weight files: read without executing anything, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import safe_open
from torch import Tensor, nn

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.storage import write_file
from resnet_backbone.utils.tensors import is_finite, pack
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.formats import read_content
from resnet_backbone.weights.wrappers import state_dict_in

T = TypeVar("T")


def read_state_dict(path: str | Path, *, strip: bool = True) -> dict[str, Tensor]:
    """Reads a weight file into host memory, without running anything that it holds.

    `.pth` and its like go through torch's restricted unpickler, `.pkl` through a reader that knows
    arrays and plain containers alone; what else a pickle names ends the reading before it begins.
    There is no way around either. Bytes tell the format, not the file's name.

    Args:
        path: A file that torch.save wrote (`.pth`, `.pt`, `.th`, `.pyth`), detectron2's or Caffe2's
            `.pkl`, `.npz` or `.safetensors`.
        strip: Take off prefixes as "module." and select the backbone of self-supervised training,
            see `state_dict_in`; dictionaries around the weights are opened in any case.

    Returns:
        Names and tensors, as stored.

    Raises:
        WeightsError: the file is missing, unreadable, damaged, holds code or something else; names
            file and reason.
    """
    return read_with_text(path, strip=strip)[0]


def read_with_text(
    path: str | Path, *, strip: bool = True
) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Returns what `read_state_dict` and `read_metadata` do, of one reading.

    Files of other formats than `.safetensors` have no text.
    """
    path = _existing(path)
    content = _read(path, read_content)
    return state_dict_in(content.value, str(path), strip=strip), content.text


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
    write_file(Path(path), pack(tensors, text))


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
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:
        # Parsers meet damaged bytes with whatever exception the bytes lead to.
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path}: not a readable weight file ({type(error).__name__}: {reason})"
        ) from error
