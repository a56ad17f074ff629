"""Pickles that would run code, or eat memory, if anything unpickled them; and a witness."""

import codecs
import contextlib
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Iterator

import torch

_WATCHED = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.remove", "os.rename"),
    *("subprocess.Popen", "pickle.find_class", "exec", "ctypes.dlopen"),
    *("socket.connect", "socket.getaddrinfo", "shutil.rmtree"),
)
_seen: list[str] | None = None


def _witness(event: str, arguments: tuple) -> None:
    if _seen is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in _WATCHED or writes:
        _seen.append(f"{event} {arguments}")


# Of pickles and archives; the first use of a codec imports it, which counts as exec.
for _codec in ("raw-unicode-escape", "unicode-escape", "latin-1", "cp437"):
    codecs.lookup(_codec)
sys.addaudithook(_witness)  # for good: Python has no way to take one off


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """Fails if the block executes code, starts a process, writes a file or unpickles."""
    global _seen
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert not seen, seen


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def call(name: str, *arguments: bytes) -> bytes:
    """A protocol 2 pickle that calls `name` with literals as they are pickled."""
    module, _, function = name.rpartition(".")
    return b"\x80\x02" + f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR."


def stack_global(module: str, name: str, rest: bytes = b")R.") -> bytes:
    return b"\x80\x04" + short(module) + b"\x94" + short(name) + b"\x94\x93" + rest


COMMAND = text("touch /nonexistent/executed")

# What is refused, and the stream. By whom it would be called never matters.
NAMED = {
    "os.system": call("os.system", COMMAND),
    "posix.system": call("posix.system", COMMAND),
    "nt.system": call("nt.system", COMMAND),
    "subprocess.Popen": call("subprocess.Popen", COMMAND),
    "builtins.eval": call("builtins.eval", text("1 + 1")),
    "builtins.exec": call("__builtin__.exec", text("1 + 1")),
    "builtins.compile": call("builtins.compile", text("1"), text("x"), text("eval")),
    "builtins.getattr": call(
        "builtins.getattr", b"c__builtin__\n__import__\n" + text("os") + b"\x85R", text("system")
    ),
    "builtins.__import__": call("builtins.__import__", text("antigravity")),
    "builtins.bytearray": call("builtins.bytearray", b"\x8a\x05" + (2**33).to_bytes(5, "little")),
    "pkgutil.resolve_name": call("pkgutil.resolve_name", text("os:system")),
    "importlib.import_module": call("importlib.import_module", text("antigravity")),
    "numpy.load": call("numpy.load", text("x.npy")),
    "numpy.f2py.crackfortran.getlincoef": call("numpy.f2py.crackfortran.getlincoef", COMMAND),
    "torch.load": call("torch.load", text("x.pth")),
    "torch.storage._load_from_bytes": call("torch.storage._load_from_bytes", b"C\x01x"),
    "torch.hub.load": call("torch.hub.load", text("someone/repository"), text("model")),
    "copyreg._reconstructor": call("copyreg._reconstructor", b"N", b"N", b"N"),
    # by the other opcodes that name
    "os.path.join": stack_global("os", "path.join"),
    "os.popen": stack_global("os", "popen"),
    "collections.OrderedDict.__init__.__globals__": stack_global(
        "collections", "OrderedDict.__init__.__globals__"
    ),
    "os.execv": b"\x80\x02(" + COMMAND + b"ios\nexecv\n.",
    "os.spawnl": b"\x80\x02(cos\nspawnl\n" + COMMAND + b"o.",
    "os.startfile": b"\x80\x02cos\nstartfile\n)\x81.",
    "os.putenv": b"\x80\x04" + short("os") + short("putenv") + b"\x93)}\x92.",
    "os.abort": b"\x80\x02cos\nabort\n)R0}.",  # its result popped, an empty dictionary left
    "os.kill": b"cos\nkill\n(I1\nI9\ntR.",  # protocol 0
}

# What no name gives away.
NAMELESS = {
    "extension code": b"\x80\x02\x82\x01)R.",
    "large extension code": b"\x80\x02\x84\x01\x02\x03\x04)R.",
    "persistent id": b"\x80\x02" + text("someone's") + b"Q.",
    "persistent id of protocol 0": b"\x80\x02Psomeone's\n.",
    "state of a dictionary": b"\x80\x02}}" + text("__class__") + COMMAND + b"sb.",
    "call of text": b"\x80\x02" + text("os.system") + COMMAND + b"\x85R.",
    "append to a dictionary": b"\x80\x02}Na.",
    "item of a list": b"\x80\x02]" + text("a") + b"Ns.",
    "next buffer": b"\x80\x05\x97.",
    "nothing": b"\x80\x02.",
    "no end": b"\x80\x02}",
    "two results": b"\x80\x02}}.",
    "memo that was never filled": b"\x80\x02h\x07.",
    "mark that was never set": b"\x80\x02}u.",
    "text of four gigabytes": b"\x80\x02X\xff\xff\xff\xff.",
    "bytes of 2**63": b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
    "nesting": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "nesting of marks": b"\x80\x02" + b"(" * 100_000 + b".",
}


def in_zip(stream: bytes) -> bytes:
    """A torch file of today with `stream` for its data.pkl."""
    good, evil = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(2)}, good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            new.writestr(name, stream if name.endswith("data.pkl") else old.read(name))
    return evil.getvalue()


def in_legacy(stream: bytes) -> bytes:
    """A torch file of before 1.6 with `stream` for its content."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in parts) + stream + pickle.dumps([], 2)


CONTAINERS = {"as it is": bytes, "zip": in_zip, "legacy": in_legacy}
