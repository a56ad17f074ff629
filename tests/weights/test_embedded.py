"""The card inside other trainers' checkpoints."""

import pytest
import torch

from resnet_backbone.weights.card import Recipe, WeightsCard, card_in
from resnet_backbone.weights.embedded import BESIDE, card_of, card_tensor, text_in
from resnet_backbone.weights.files import read_weight_file
from resnet_backbone.weights.presets import MSRA

LONG = {"mean": (1 / 3,) * 3, "std": (2 / 3,) * 3, "interpolation": "bicubic", "licence": "MIT"}


@pytest.mark.parametrize(
    "card", [WeightsCard(), MSRA, WeightsCard(arch="resnext101_32x8d", **LONG)]
)
def test_a_card_comes_back_and_takes_the_same_room(card):
    tensor = card_tensor(card)
    assert (tensor.shape, tensor.dtype) == ((1024,), torch.uint8)
    assert card_of(tensor) == card.model_copy(update={"recipe": None, "source": None})


@pytest.mark.parametrize("prefix", ["", "backbone.", "backbone.bottom_up."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_checkpoint_with_a_card(prefix, wrapped, tmp_path):
    state = {f"{prefix}_extra_state": card_tensor(MSRA), f"{prefix}conv1.weight": torch.ones(1)}
    content = {"model": state} if wrapped else state
    assert card_in(text_in(content), "f").channel_order == "BGR"
    torch.save(content, tmp_path / "f.pth")
    file = read_weight_file(tmp_path / "f.pth", strip=False)
    assert list(file.tensors) == [f"{prefix}conv1.weight"]
    assert file.text == text_in(content)


@pytest.mark.parametrize(
    "other",
    [torch.ones(3), torch.ones(1024, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8), "a"],
)
def test_extra_states_of_others_are_none_of_our_cards(other):
    assert text_in({"model": {"quantizer._extra_state": other, "a": torch.ones(1)}}) == {}


def test_text_beside_the_model():
    text = {"config": "{}", "class_names": "[]"}
    assert text_in({"model": {}, BESIDE: text | {"iteration": 3}}) == text
    for content in ({"model": {}}, {BESIDE: "text"}, [1], {BESIDE: {1: "a"}}, {"model": 3}):
        assert text_in(content) == {}


def test_the_recipe_is_of_the_first_training():
    recipe = Recipe(optimizer="sgd", lr=0.1, weight_decay=0.1)
    assert card_of(card_tensor(WeightsCard(recipe=recipe))).recipe is None
