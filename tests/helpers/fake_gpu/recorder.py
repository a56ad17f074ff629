"""Writes down what operators would cost on a real GPU, and what makes the host wait for it."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import resnet_backbone
from fake_gpu.device import KIND, Event

_PACKAGE = f"{Path(resnet_backbone.__file__).parent}/"
# Operators that launch nothing.
_FREE = {
    *("detach", "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"),
    *("lift_fresh", "_unsafe_view", "device", "is_pinned"),
}
# Operators whose result has a size that only the device knows.
_SIZED = {"masked_select", "unique_consecutive", "_unique2", "repeat_interleave", "bincount"}
# Operators whose arguments have a dtype that matters; resizing has no kernel for uint8 on CUDA.
_WATCHED = {
    *("nms", "roi_align", "_log_softmax", "nll_loss_forward", "exp", "log"),
    *("binary_cross_entropy_with_logits", "convolution", "_upsample_bilinear2d_aa"),
}
_INDICES = {torch.int32, torch.int64}


class Recorder(TorchDispatchMode):
    """Records operators on the device.

    Args:
        found: Rows that `nonzero`, a boolean mask, or NMS is taken to find.

    Attributes:
        waits: How often the host waits, by kind and by the package's file and function.
        kernels: Operators that launch at least one kernel.
        bytes: What they read and write, in bytes.
        largest: The largest tensor that any of them wrote, in bytes, and where.
        dtypes: Dtypes of the arguments of some operators, but for indices.
    """

    def __init__(self, found: int) -> None:
        super().__init__()
        self.found = found
        self.waits: Counter[str] = Counter()
        self.kernels = 0
        self.bytes = 0
        self.largest = (0, "")
        self.dtypes: defaultdict[str, set[str]] = defaultdict(set)

    def __enter__(self) -> Recorder:
        self._former = Event.synchronize, FakeTensor.tolist
        Event.synchronize = lambda event: self.wait("event")
        FakeTensor.tolist = self._tolist()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        Event.synchronize, FakeTensor.tolist = self._former
        super().__exit__(*error)

    def wait(self, kind: str) -> None:
        """Records that the host waits."""
        self.waits[f"{kind} in {_place()}"] += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "_local_scalar_dense":  # also after a copy to the host
            if args[0].device.type == KIND:
                self.wait("item")
            return _value(args[0].dtype)
        if name == "equal" and args[0].device.type == KIND:
            self.wait(name)
            return True
        if name in ("_to_copy", "copy_"):
            self._note_copy(name, args, kwargs)
        if not any(tensor.device.type == KIND for tensor in read):
            out = func(*args, **kwargs)
            read = []
        else:
            out = self._sized(name, args)
            if out is None and not name.startswith("_fused_"):  # which have no fake kernel
                out = func(*args, **kwargs)
        self._count(func, name, read, out)
        return out

    def _sized(self, name: str, args: tuple[Any, ...]) -> Tensor | None:
        """Returns the result of an operator whose size is unknown; None for other operators."""
        first = args[0]
        if name == "nonzero":
            self.wait(name)
            return first.new_zeros((self.found, first.dim()), dtype=torch.int64)
        if name == "nms":
            self.wait(name)
            return first.new_zeros(min(self.found, len(first)), dtype=torch.int64)
        if name in ("index", "index_put", "index_put_"):
            masks = [m for m in args[1] if m is not None and m.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.wait("boolean mask")
            if masks and name == "index":
                return first.new_zeros((self.found, *first.shape[masks[0].dim() :]))
        if name in _SIZED:
            self.wait(name)
        return None

    def _note_copy(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        source = args[0] if name == "_to_copy" else args[1]
        target = kwargs.get("device") or source.device if name == "_to_copy" else args[0].device
        later = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
        there = torch.device(target).type
        if isinstance(source, FakeTensor):
            source.constant = None  # which would be copied in earnest
        # With non_blocking, the loader's memory is pinned, and torch pins that of the result.
        if source.device.type != there and not later:
            self.wait("copy to the device" if there == KIND else "copy to the host")

    def _count(self, func: Any, name: str, read: list[Tensor], out: Any) -> None:
        written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        tensors = [tensor for tensor in (*read, *written) if tensor.device.type == KIND]
        if not tensors or func.is_view or name in _FREE:
            return
        self.kernels += 1
        self.bytes += sum(map(_size, tensors))
        for tensor in written:
            if _size(tensor) > self.largest[0]:
                self.largest = (_size(tensor), f"{name} in {_place()}")
        if name in _WATCHED:
            kinds = {str(t.dtype).removeprefix("torch.") for t in read if t.dtype not in _INDICES}
            self.dtypes[name] |= kinds

    def _tolist(self) -> Callable[[Tensor], Any]:
        def tolist(tensor: Tensor) -> Any:
            if tensor.device.type == KIND:
                self.wait("tolist")
            values: Any = _value(tensor.dtype)
            for side in reversed(tensor.shape):
                values = [values] * side
            return values

        return tolist


@dataclass
class Traced:
    """What a case did.

    Attributes:
        recorder: What it cost.
        results: "dtype device" of its results, by name.
    """

    recorder: Recorder
    results: dict[str, str] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Returns all of it as JSON values."""
        size, place = self.recorder.largest
        return {
            "results": self.results,
            "dtypes": {op: sorted(kinds) for op, kinds in sorted(self.recorder.dtypes.items())},
            "waits": dict(sorted(self.recorder.waits.items())),
            "kernels": self.recorder.kernels,
            "bytes": self.recorder.bytes,
            "largest": {"bytes": size, "in": place},
        }


def kind_of(tensor: Tensor | None) -> str:
    """Returns "dtype device"."""
    if tensor is None:
        return "none"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tensor.device}"


def _value(dtype: torch.dtype) -> float | int | bool:
    """Returns what a tensor is taken to contain: no flag is set, and no size is 0."""
    return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 1


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _place() -> str:
    """Returns the innermost function of the package that is being called."""
    frame = sys._getframe(1)
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        # Comprehensions have frames of their own in some versions of Python.
        if file.startswith(_PACKAGE) and not name.startswith("<"):
            return f"{file[len(_PACKAGE) :]}:{name}"
        frame = frame.f_back
    return "outside the package"
