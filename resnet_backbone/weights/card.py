"""What must be known about weights besides their tensors: pixels, strides, epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.weights.metadata import section_in

METADATA_KEY = "card"
# What cannot be read off the tensors and must be known; the names are those of `WeightsCard`.
FACTS = ("stride_in_1x1", "channel_order", "mean", "std")

Triple = tuple[float, float, float]


class Recipe(BaseModel):
    """How to train a detector that starts from the weights.

    Attributes:
        optimizer: As in `solver.optimizer`.
        lr: Learning rate for 16 images per step.
        weight_decay: Weight decay of convolutions and linear layers.
        weight_decay_norm: Weight decay of norms.
        source: Where the recipe was published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    weight_decay_norm: float = Field(0.0, ge=0)
    source: str | None = None


class WeightsCard(BaseModel):
    """What is known about weights; None where it is not known.

    Attributes:
        arch: The network's name in `list_backbones`.
        layout: How the source names parameters, see `weights.layouts`.
        stride_in_1x1: See `BlockStyle`; has no meaning for networks of basic blocks.
        channel_order: Channel order of the pixels that the weights were trained on.
        pixel_scale: The value of the brightest pixel, in the units of `mean` and `std`.
        mean: Mean that is subtracted from the pixels, in `channel_order`.
        std: Standard deviation that the pixels are divided by, in `channel_order`.
        norm_eps: Epsilon that the norms add to the variance.
        interpolation: Interpolation with which training images were resized.
        source: Who made the weights, or where they came from.
        licence: SPDX identifier of the licence, if there is one.
        top1: Top-1 accuracy on ImageNet's validation images in percent, one crop.
        recipe: The recipe for detectors that suits the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    arch: str | None = None
    layout: str | None = None
    stride_in_1x1: bool | None = None
    channel_order: Literal["RGB", "BGR"] | None = None
    pixel_scale: Literal[1, 255] = 255
    mean: Triple | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    norm_eps: float = Field(NORM_EPS, ge=0)
    interpolation: str | None = None
    source: str | None = None
    licence: str | None = None
    top1: float | None = None
    recipe: Recipe | None = None

    def at_255(self) -> WeightsCard:
        """Returns the card with `mean` and `std` for pixels from 0 to 255."""
        factor = 255 / self.pixel_scale
        return self.model_copy(
            update={
                "pixel_scale": 255,
                "mean": _times(self.mean, factor),
                "std": _times(self.std, factor),
            }
        )

    def missing_facts(self) -> tuple[str, ...]:
        """Returns which of `FACTS` are not known."""
        return tuple(fact for fact in FACTS if getattr(self, fact) is None)

    def to_metadata(self) -> dict[str, str]:
        """Returns the text that `save_weights` stores beside the tensors."""
        return {METADATA_KEY: self.model_dump_json(exclude_none=True)}


def card_in(metadata: Mapping[str, str], source: str) -> WeightsCard | None:
    """Returns the card in the text of a safetensors file; None if there is none.

    Raises:
        WeightsError: it cannot be read.
    """
    return section_in(WeightsCard, metadata, METADATA_KEY, source)


def _times(triple: Triple | None, factor: float) -> Triple | None:
    if triple is None or factor == 1:
        return triple
    red, green, blue = (round(factor * value, 6) for value in triple)
    return red, green, blue
