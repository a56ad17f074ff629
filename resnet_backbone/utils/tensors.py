"""Serialises tensors for files."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns the content of a safetensors file; equal arguments give equal bytes.

    Args:
        tensors: Tensors by name, on any device and in any memory format.
        metadata: Text to store with them.
    """
    # Copies, because safetensors accepts neither strided views nor tensors that share memory.
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return _with_sorted_text(safetensors.torch.save(plain, dict(metadata) if metadata else None))


def is_finite(tensor: Tensor) -> bool:
    """Returns whether `tensor` contains neither NaN nor infinity."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _with_sorted_text(content: bytes) -> bytes:
    """Sorts the metadata in the header, whose order safetensors varies from run to run.

    The file starts with the length of the header in 8 bytes and the header itself: JSON, padded
    with spaces to a multiple of 8 bytes (https://github.com/huggingface/safetensors, "Format").
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if "__metadata__" not in header:
        return content
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]
