"""CUDA's rules of mixed precision for another device, read from torch's own header.

torch/include/ATen/autocast_mode.h lists the operators that autocast computes in lower precision, in
float32, or in the widest dtype of their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision  # noqa: F401, registers its operators
from torch.utils._pytree import tree_flatten, tree_map

HALF = (torch.float16, torch.bfloat16)
_HEADER = Path(torch.__file__).parent / "include/ATen/autocast_mode.h"
_KEY = "AutocastPrivateUse1"
# Registered by torchvision for CUDA (torchvision/csrc/ops/autocast): all in float32.
_TORCHVISION = ("roi_align", "nms", "deform_conv2d")
_kept: list[torch.library.Library] = []  # registrations end with their Library


def register(kind: str) -> None:
    """Registers the rules for the device `kind`."""
    aten, vision = (
        torch.library.Library("aten", "IMPL"),
        torch.library.Library("torchvision", "IMPL"),
    )
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, _KEY)
    _kept.extend((aten, vision, others))
    for name, rule in rules().items():
        if (op := _operator(name)) is not None:
            aten.impl(op, _cast(op, kind, rule), _KEY)
    for name in _TORCHVISION:
        op = getattr(torch.ops.torchvision, name).default
        vision.impl(op, _cast(op, kind, "float32"), _KEY)


def rules() -> dict[str, str]:
    """Returns "lower", "float32", "float32 unless a dtype is given" or "widest" by operator."""
    text = _HEADER.read_text().replace("\\\n", "\n")
    found = {name: "lower" for name in _listed(text, "LOWER_PRECISION_FP")}
    found |= {name: "float32" for name in _listed(text, "FP32")}
    found |= {
        name: "float32 unless a dtype is given" for name in _listed(text, "FP32_SET_OPT_DTYPE")
    }
    return found | {name: "widest" for name in _listed(text, "PROMOTE")}


def _listed(text: str, group: str) -> Iterator[str]:
    """Yields the names in `#define AT_FORALL_group(_)`, as "name" or "name.overload"."""
    start = text.index(f"#define AT_FORALL_{group}(_)")
    block = re.match(r".*\n(?:\s+_\(.*\)\s*\n)+", text[start:])
    if block is None:
        raise ValueError(f"{_HEADER}: no list of {group}")
    for name, overload in re.findall(r"\s_\((\w+)(?:, (\w+))?\)", block[0]):
        yield f"{name}.{overload}" if overload else name


def _operator(name: str) -> torch._ops.OpOverload | None:
    packet, _, overload = name.partition(".")
    found = getattr(torch.ops.aten, packet, None)
    return getattr(found, overload or "default", None)


def _cast(op: torch._ops.OpOverload, kind: str, rule: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_KEYS):
            to = _dtype(rule, kind, args, kwargs)
            if to is None:
                return op(*args, **kwargs)
            return op(*_casted(args, to, kind), **_casted(kwargs, to, kind))

    return run


_KEYS = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _KEY))


def _dtype(rule: str, kind: str, args: Any, kwargs: Any) -> torch.dtype | None:
    """Returns what the arguments are cast to; None leaves them as they are."""
    if rule == "lower":
        return torch.get_autocast_dtype(kind)
    if rule == "float32":
        return torch.float32
    dtypes = {leaf.dtype for leaf in tree_flatten((args, kwargs))[0] if _is_cast(leaf, kind)}
    if rule == "widest":
        return torch.float32 if torch.float32 in dtypes else None
    given = any(isinstance(leaf, torch.dtype) for leaf in tree_flatten((args, kwargs))[0])
    return None if given else torch.float32


def _is_cast(leaf: object, kind: str) -> bool:
    """Only floating-point tensors on the device are cast, and float64 never is."""
    return (
        isinstance(leaf, torch.Tensor)
        and leaf.device.type == kind
        and leaf.is_floating_point()
        and leaf.dtype != torch.float64
    )


def _casted(tree: Any, to: torch.dtype, kind: str) -> Any:
    return tree_map(lambda leaf: leaf.to(to) if _is_cast(leaf, kind) else leaf, tree)
