"""Recognises the format of a weight file by its first bytes, and reads its content."""

from __future__ import annotations

import codecs
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import safe_open

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.torch_file import MAGIC_NUMBER, ZIP, load_torch_file
from resnet_backbone.weights.unpickle import unpickle_arrays


@dataclass(frozen=True)
class Content:
    """The content of a weight file.

    Attributes:
        value: Usually a mapping of tensors or numpy arrays, or one that contains such a mapping.
        text: The text stored beside the tensors of a safetensors file.
    """

    value: object
    text: Mapping[str, str] = field(default_factory=dict)


Reader = Callable[[Path], Content]

_HEAD = 512  # bytes; tar has its mark at 257
_TAR_MARK = slice(257, 262)
_PICKLE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_MAX_RATIO = 100  # of what a compressed archive holds to its size; buffers of zeros reach 1000
_FREE_SIZE = 2**26  # bytes that it may hold whatever the ratio

# What people have under a weight file's name, by its first bytes.
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\x89HDF": "an HDF5 file, as Keras writes; convert its arrays to .npz",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself by 'git lfs pull'",
}
_TEXTS = {
    b"<": "a web page, not the file that was to be downloaded",
    b"{": "JSON text, not weights; the index of a sharded model only names the files of weights",
    b"[": "JSON text, not weights",
}
# ONNX begins with its version and the name of its producer, in protobuf's fields 1 and 2.
_ONNX = re.compile(rb"\x08[\x01-\x0f]\x12.[\x20-\x7e]", re.DOTALL)


def read_content(path: Path) -> Content:
    """Reads a whole weight file; its suffix does not matter.

    Args:
        path: A file that exists and is not empty: safetensors, torch.save's two formats, a pickle
            of arrays, or .npz.

    Raises:
        WeightsError: the file cannot be read; the message lacks the file's name.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return _reader(path, head)(path)


def _reader(path: Path, head: bytes) -> Reader:
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= path.stat().st_size:
        return _read_safetensors
    if head.startswith(ZIP):
        return _read_zip
    if MAGIC_NUMBER in head[:16]:
        return _read_torch_file
    if head.startswith(_PICKLE):
        return _read_pickle
    for marks, start in ((_OTHERS, head), (_TEXTS, head.removeprefix(codecs.BOM_UTF8).lstrip())):
        for mark, what in marks.items():
            if start.startswith(mark):
                raise WeightsError(f"this is {what}")
    if _ONNX.match(head):
        raise WeightsError("this is an ONNX model; give the weights that it was exported from")
    if head[_TAR_MARK] == b"ustar":
        raise WeightsError(
            "this is a tar archive; if torch before 0.1.10 wrote it, load it there and save it anew"
        )
    return _by_suffix(path.suffix)


def _by_suffix(suffix: str) -> Reader:
    """Returns the reader that can describe what is wrong with a damaged file."""
    if suffix == ".safetensors":
        return _read_safetensors
    if suffix in (".pth", ".pt", ".th", ".pyth", ".pkl"):
        return _read_pickle
    raise WeightsError(
        "not a weight file: expected the content of a .safetensors, .pth (.pt, .th, .pyth), .pkl or"
        " .npz file"
    )


def _read_safetensors(path: Path) -> Content:
    with safe_open(path, framework="pt") as file:
        return Content({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})


def _read_pickle(path: Path) -> Content:
    return Content(unpickle_arrays(path.read_bytes()))


def _read_torch_file(path: Path) -> Content:
    return Content(load_torch_file(path))


def _read_zip(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:  # its table of contents is at the end
        raise WeightsError(f"the file is cut short, or damaged at its end ({error})") from error
    if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
        return _read_torch_file(path)
    if sum(e.file_size for e in entries) > max(_FREE_SIZE, _MAX_RATIO * path.stat().st_size):
        raise WeightsError(f"refused: the archive unpacks to over {_MAX_RATIO} times its size")
    with np.load(path, allow_pickle=False) as file:
        return Content(dict(file))
