"""Reads what torch.save wrote: checks the names in its pickles, then lets torch read tensors."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.text import listing
from resnet_backbone.weights.blanks import blank_class, dict_class, is_side_object
from resnet_backbone.weights.unpickle import global_name, refusal

ZIP = b"PK\x03\x04"
MAGIC_NUMBER = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # of files before torch 1.6
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, order of the storages
_MAX_OPCODES = 2_000_000
_MAX_BLANKS = 100  # classes
# Integers can be chosen so that their hashes collide, which makes a dictionary of them slow; those
# integers are large. A few are seeds.
_LARGE, _MAX_LARGE = 2**48, 5000

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
# Names of entries, below the archive's one folder.
_ENTRIES = ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment")
_FOLDERS = ("data/", ".data/")


def load_torch_file(path: Path) -> object:
    """Reads a file that torch.save wrote, in its format of today or the one before torch 1.6.

    Before torch sees the file, every global that its pickles name is compared with a list: tensors,
    storages and plain containers. Classes of other libraries, which training scripts store beside
    them, come back as `Blank`. torch.load then runs with weights_only=True, never without.

    Raises:
        WeightsError: a global is neither in the list nor such a class (the message names it), the
            archive is not as torch writes it, or an entry's checksum is wrong; without the file's
            name.
    """
    with path.open("rb") as file:
        # torch's own rule: a file that is both must not be shown to us as one, to torch as other.
        if file.read(len(ZIP)) == ZIP:
            blanks = _check_archive(file, path.stat().st_size)
        else:
            file.seek(0)
            blanks = set().union(*[_check_pickle(file) for _ in range(_LEGACY_PICKLES)])
        return _load(file, blanks, {"collections.defaultdict"})


def _load(file: IO[bytes], blanks: Collection[str], dicts: set[str]) -> object:
    """Reads the file with blanks; which of them are dictionaries shows when items are set."""
    file.seek(0)
    made: list[Any] = [
        (dict_class(name) if name in dicts else blank_class(name), name) for name in blanks
    ]
    try:
        with torch.serialization.safe_globals(made):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # an UnpicklingError, of a module that nothing here imports
        found = {name for name in blanks if f".{name}'>" in str(error)} - dicts
        if "SETITEM" not in str(error) or not found:
            raise
    return _load(file, blanks, dicts | found)


def _check_archive(file: IO[bytes], size: int) -> set[str]:
    """Returns the globals to read as blanks."""
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
        if unknown or "data.pkl" not in names or len(set(names)) < len(names) or len(folders) > 1:
            raise WeightsError(
                f"the archive's entries ({listing([e.filename for e in entries], 3)}) are not those"
                " that torch.save writes; if a weight file is among them, unpack it"
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise WeightsError("the archive is compressed, which torch.save's never is")
        if sum(entry.file_size for entry in entries) > size:
            raise WeightsError("the archive's entries overlap")
        (root,) = folders
        blanks = _check_pickle(io.BytesIO(archive.read(f"{root}/data.pkl")))
        if damaged := archive.testzip():
            raise WeightsError(f"damaged: {damaged} does not have the checksum stored with it")
        return blanks


def _check_pickle(file: IO[bytes]) -> set[str]:
    """Returns the globals to read as blanks; WeightsError for what is neither data nor a blank."""
    blanks: set[str] = set()
    for name in _globals(file):
        if name in _ALLOWED:
            continue
        if not is_side_object(name) or len(blanks) == _MAX_BLANKS:
            raise refusal(name, "load it and save model.state_dict() alone")
        blanks.add(name)
    return blanks


def _globals(file: IO[bytes]) -> Iterator[str]:
    """Yields the globals one pickle names, up to its end."""
    large = 0
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
        elif isinstance(argument, int) and abs(argument) > _LARGE:
            large += 1
            if large > _MAX_LARGE:
                raise WeightsError(f"the pickle has more than {_MAX_LARGE} integers over 2**48")
