"""Folds another normalisation of pixels into the first convolution and its norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import Triple, WeightsCard

_FIRST = {"conv1.weight": "bn1", "conv1.0.weight": "conv1.1"}  # and the norm behind it


def fold_input(
    tensors: Mapping[str, Tensor],
    card: WeightsCard,
    *,
    channel_order: Literal["RGB", "BGR"] = "RGB",
    mean: Triple | None = None,
    std: Triple | None = None,
) -> tuple[dict[str, Tensor], WeightsCard]:
    """Returns weights that give the same features for pixels that are normalised differently.

    With p the raw pixel, the network was trained on (p - m) / s; given (p - m') / s' instead, the
    first convolution w becomes w * s' / s, in the other order of channels, and its output lacks
    w * (m' - m) / s, which the norm's running mean takes. This is exact where no padding is seen:
    a padded zero stands for the pixel m before and for m' after. Where m' equals m, in its order,
    as between MSRA's and torchvision's weights, it is exact everywhere.

    Args:
        tensors: The backbone's tensors, under our names.
        card: What the weights were trained with.
        channel_order: Channel order of the new pixels.
        mean: Mean of the new pixels, 0 to 255, in `channel_order`; None keeps the old one.
        std: Standard deviation of the new pixels, in the same form as `mean`.

    Raises:
        WeightsError: the card does not say what the weights were trained with, or they have no such
            layers.
    """
    card = card.at_255()
    if card.mean is None or card.std is None or card.channel_order is None:
        raise WeightsError(f"cannot fold the input: the card lacks {card.missing_facts()}")
    first = next((name for name in _FIRST if name in tensors), None)
    if first is None or tensors[first].shape[1] != 3:
        raise WeightsError("cannot fold the input: there is no first convolution on three channels")

    def ordered(triple: Triple) -> Triple:
        return triple if card.channel_order == channel_order else (triple[2], triple[1], triple[0])

    old_mean, old_std = ordered(card.mean), ordered(card.std)
    new_mean, new_std = mean or old_mean, std or old_std
    weight = tensors[first].double()
    weight = weight if card.channel_order == channel_order else weight.flip(1)
    before, after = (torch.tensor(t, dtype=torch.float64) for t in (old_std, new_std))
    folded = dict(tensors)
    folded[first] = (weight * (after / before)[:, None, None]).to(tensors[first].dtype)
    if new_mean != old_mean:
        shift = (torch.tensor(new_mean) - torch.tensor(old_mean)).double() / before
        lost = (weight * shift[:, None, None]).sum(dim=(1, 2, 3))
        statistics = f"{_FIRST[first]}.running_mean"
        if statistics not in tensors:
            raise WeightsError("cannot fold another mean: no batch normalisation follows conv1")
        folded[statistics] = (tensors[statistics].double() - lost).to(tensors[statistics].dtype)
    update = {"channel_order": channel_order, "mean": new_mean, "std": new_std}
    return folded, card.model_copy(update=update)
