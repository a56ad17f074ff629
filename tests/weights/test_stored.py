"""Weights of modules that are not ours, under the names that these modules have."""

import torch

from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import read_plain


def test_names_of_other_modules_are_left_alone(tmp_path):
    """A user's backbone may well keep its network under `model` or `encoder`."""
    state = {"model.encoder.0.weight": torch.ones(2), "model.encoder.0.bias": torch.zeros(1)}
    save_weights(state, tmp_path / "w.safetensors", {})
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        stored = read_plain(tmp_path / name)
        assert sorted(stored.tensors) == sorted(state) and stored.layout == "as stored"
