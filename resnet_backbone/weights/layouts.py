"""Placeholder until the real one lands."""

from dataclasses import dataclass
from typing import Literal
from torch import Tensor


@dataclass(frozen=True)
class Converted:
    layout: str
    kind: Literal["backbone", "detector"]
    tensors: dict[str, Tensor]
    ignored: tuple[str, ...] = ()


def to_ours(state, source):
    det = any(n.startswith(("roi_heads.", "rpn.")) for n in state)
    return Converted(
        "ours" if det else "torchvision", "detector" if det else "backbone", dict(state)
    )
