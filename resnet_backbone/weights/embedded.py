"""The card inside checkpoints that other trainers write: as a tensor, or as text beside the model.

detectron2 saves what the modules' state dict holds, so that a backbone in it can only add a tensor:
the one that torch calls `_extra_state`, which is no parameter and no buffer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import ValidationError
from torch import Tensor

from resnet_backbone.weights.card import WeightsCard

EXTRA_STATE = "_extra_state"
BESIDE = "resnet_backbone"  # the key of the text in a checkpoint's dictionary
_BYTES = 1024  # whatever the card: checkpointers compare shapes


def card_tensor(card: WeightsCard) -> Tensor:
    """Returns a card as uint8[1024]: JSON in UTF-8, filled up with spaces."""
    text = card.model_dump_json(exclude_none=True, exclude={"recipe", "source"}).encode()
    return torch.tensor(list(text.ljust(_BYTES)), dtype=torch.uint8)


def card_of(value: object) -> WeightsCard | None:
    """Returns the card in a tensor; other modules have extra states too, of any content."""
    if not isinstance(value, Tensor) or value.dtype != torch.uint8 or value.shape != (_BYTES,):
        return None
    try:
        return WeightsCard.model_validate_json(bytes(value.tolist()))
    except ValidationError:
        return None


def text_in(content: object) -> dict[str, str]:
    """Returns what a checkpoint holds of the text that a `.safetensors` file of ours has.

    Args:
        content: What the file holds: a dictionary, with the weights in it or below "model".
    """
    if not isinstance(content, Mapping):
        return {}
    beside, model = content.get(BESIDE), content.get("model", content)
    text = beside if isinstance(beside, Mapping) else {}
    found = {k: v for k, v in text.items() if isinstance(k, str) and isinstance(v, str)}
    if isinstance(model, Mapping):
        for name, value in model.items():
            if isinstance(name, str) and name.endswith(EXTRA_STATE) and (card := card_of(value)):
                return found | card.to_metadata()
    return found
