"""Tensors as the content of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns the content of a safetensors file: equal arguments give equal bytes.

    Args:
        tensors: On any device, of any memory layout.
        metadata: Text to store along.
    """
    # Copies: safetensors stores neither strided views nor two names of the same memory.
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return _with_sorted_text(safetensors.torch.save(plain, dict(metadata) if metadata else None))


def is_finite(tensor: Tensor) -> bool:
    """Tells whether `tensor` holds neither NaN nor infinity."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _with_sorted_text(content: bytes) -> bytes:
    """Puts the header's text into one order: safetensors writes it in another at every run.

    A file begins with the header's length in 8 bytes and the header, JSON that spaces fill up to a
    multiple of 8 bytes (https://github.com/huggingface/safetensors, "Format").
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if "__metadata__" not in header:
        return content
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]
