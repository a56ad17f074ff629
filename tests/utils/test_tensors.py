import json

import safetensors.torch
import torch

from resnet_backbone.utils.tensors import is_finite, pack

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


def test_equal_weights_and_text_are_equal_bytes_and_a_file_that_safetensors_reads():
    """safetensors itself orders the text anew in every run, and even in every call."""
    text = {f"key {number}": f"\u00fc \\ {number}" for number in range(16)}
    contents = {pack(STATE, dict(sorted(text.items(), reverse=r))) for r in (False, True) * 4}
    assert len(contents) == 1
    (content,) = contents
    loaded = safetensors.torch.load(content)
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0  # so that tensors are aligned
    assert json.loads(content[8 : 8 + length])["__metadata__"] == text


def test_views_shared_memory_and_other_layouts_are_stored_as_their_values():
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    tensors = {
        "all": base,
        "even": base[..., ::2],
        "again": base,
        "last": base.contiguous(memory_format=torch.channels_last),
    }
    loaded = safetensors.torch.load(pack(tensors))
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_what_is_finite():
    assert is_finite(torch.tensor([1.0, -2.0])) and is_finite(torch.tensor([1, 2]))
    assert not is_finite(torch.tensor([1.0, float("nan")]))
    assert not is_finite(torch.tensor([float("-inf")], dtype=torch.float16))
