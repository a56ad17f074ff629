"""Weights of modules that are not ours, under the names that these modules have."""

import torch

from resnet_backbone.create import create_backbone
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.presets import MSRA
from resnet_backbone.weights.stored import find_card, read_plain, read_weights


def test_names_of_other_modules_are_left_alone(tmp_path):
    """A user's backbone may well keep its network under `model` or `encoder`."""
    state = {"model.encoder.0.weight": torch.ones(2), "model.encoder.0.bias": torch.zeros(1)}
    save_weights(state, tmp_path / "w.safetensors", {})
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        stored = read_plain(tmp_path / name)
        assert sorted(stored.tensors) == sorted(state) and stored.layout == "as stored"


def test_the_folder_of_a_finished_run_stands_for_its_final_weights(tmp_path):
    file = tmp_path / "model.safetensors"
    save_weights(create_backbone("resnet18", norm="BN"), file, MSRA)
    assert read_weights(tmp_path).source == read_plain(str(tmp_path)).source == str(file)
    assert find_card(tmp_path) == MSRA
