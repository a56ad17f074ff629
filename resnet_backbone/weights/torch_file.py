"""What torch.save wrote: a look at what its pickles name, then torch's restricted unpickler."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.unpickle import global_name, refusal

ZIP = b"PK\x03\x04"
MAGIC_NUMBER = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # of files before torch 1.6
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, order of the storages
_MAX_OPCODES = 2_000_000

_STORAGES = "BFloat16 Bool Byte Char Double Float Half Int Long Short".split()
_DTYPES = "bfloat16 bool uint8 int8 float64 float32 float16 int32 int64 int16".split()
_ALLOWED = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",  # of learning rate schedules
        "_codecs.encode",
        "builtins.set",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        *(f"torch.{name}Storage" for name in _STORAGES),
        *(f"torch.{name}" for name in _DTYPES),
    }
)
# What training scripts keep beside the weights: read as nothing at all.
_BLANK = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "torch.torch_version.TorchVersion",
)
# Names of entries, below the archive's one folder.
_ENTRIES = ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment")
_FOLDERS = ("data/", ".data/")


class Blank:
    """Stands where a file holds an object that is none of the weights, and forgets its state."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def load_torch_file(path: Path) -> object:
    """Reads a file that torch.save wrote, in its format of today or the one before torch 1.6.

    Before torch sees the file, every global that its pickles name is held against a list: tensors,
    storages and plain containers, and a few classes that training scripts store beside them, which
    come back as `Blank`. torch.load then runs with weights_only=True, never without.

    Raises:
        WeightsError: a global is not in the list (said by name), the archive is not as torch writes
            it, or an entry's checksum is wrong; without the file's name.
    """
    with path.open("rb") as file:
        # torch's own rule: a file that is both must not be shown to us as one, to torch as other.
        if file.read(len(ZIP)) == ZIP:
            _check_archive(file, path.stat().st_size)
        else:
            file.seek(0)
            for _ in range(_LEGACY_PICKLES):
                _check_pickle(file)
        file.seek(0)
        with torch.serialization.safe_globals([(Blank, name) for name in _BLANK]):
            return torch.load(file, map_location="cpu", weights_only=True)


def _check_archive(file: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename.partition("/")[2] for entry in entries]
        if "constants.pkl" in names or any(name.startswith("code/") for name in names):
            raise WeightsError(
                "a TorchScript archive, which holds a program; where it came from, save"
                " torch.jit.load(file).state_dict() by torch.save"
            )
        unknown = [n for n in names if n not in _ENTRIES and not n.startswith(_FOLDERS)]
        folders = {entry.filename.partition("/")[0] for entry in entries}
        if unknown or len(set(names)) < len(names) or len(folders) > 1:
            raise WeightsError("the archive's entries are not those that torch.save writes")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise WeightsError("the archive is compressed, which torch.save's never is")
        if sum(entry.file_size for entry in entries) > size:
            raise WeightsError("the archive's entries overlap")
        (root,) = folders
        _check_pickle(io.BytesIO(archive.read(f"{root}/data.pkl")))
        if damaged := archive.testzip():
            raise WeightsError(f"damaged: {damaged} does not have the checksum stored with it")


def _check_pickle(file: IO[bytes]) -> None:
    for name in _globals(file):
        if name not in _ALLOWED and name not in _BLANK:
            raise refusal(name, "load it and save model.state_dict() alone")


def _globals(file: IO[bytes]) -> Iterator[str]:
    """Yields the globals one pickle names, up to its end."""
    text = ["", ""]  # the last two, which are what STACK_GLOBAL joins unless the memo held them
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == _MAX_OPCODES:
            raise WeightsError(f"the pickle has more than {_MAX_OPCODES} opcodes")
        if opcode.name in ("GLOBAL", "INST"):
            yield global_name(*str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield global_name(*text)
        elif opcode.name in ("EXT1", "EXT2", "EXT4"):
            yield f"extension {argument}"
        elif isinstance(argument, str):
            text = [text[1], argument]
