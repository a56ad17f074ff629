"""Cards: what they say, how they are stored, and which families are known."""

import pytest
import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard, card_in
from resnet_backbone.weights.presets import LONG

BN = {"bn1.running_mean": torch.zeros(1)}


def test_text_and_back():
    card = WeightsCard(arch="resnet50", mean=(0.1, 0.2, 0.3), pixel_scale=1, recipe=LONG)
    assert card_in(card.to_metadata(), "f") == card
    assert card_in({}, "f") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"channel_order": "GBR"}', "channel_order: Input should be 'RGB' or 'BGR'"),
        ('{"colour": 1}', "colour: Extra inputs"),
        ('{"mean": [1, 2]}', "mean"),
    ],
)
def test_damaged_cards_say_where(text, reason):
    with pytest.raises(WeightsError, match=rf"f\.safetensors: cannot read its card: .*{reason}"):
        card_in({"card": text}, "f.safetensors")


def test_pixel_scale():
    card = WeightsCard(pixel_scale=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert card.at_255().mean == (123.675, 116.28, 103.53)
    assert card.at_255().std == (58.395, 57.12, 57.375)
    assert card.at_255().at_255() == card.at_255()


def test_missing_facts():
    assert WeightsCard().missing_facts() == ("stride_in_1x1", "channel_order", "mean", "std")
    assert WeightsCard(stride_in_1x1=False).missing_facts()[0] == "channel_order"
