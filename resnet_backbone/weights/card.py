"""The contract that comes with weights: what else must be known for them to mean anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.weights.metadata import section_in

METADATA_KEY = "card"
# What no file shows and nothing works without; the names are those of `WeightsCard`.
FACTS = ("stride_in_1x1", "channel_order", "mean", "std")

Triple = tuple[float, float, float]


class Recipe(BaseModel):
    """How to train a detector that starts from the weights; rates hold for 16 images per step.

    Attributes:
        optimizer: As in `solver.optimizer`.
        lr: Learning rate.
        weight_decay: Of convolutions and linear layers.
        weight_decay_norm: Of norms.
        source: Where it was published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    weight_decay_norm: float = Field(0.0, ge=0)
    source: str | None = None


class WeightsCard(BaseModel):
    """What is known of weights; None where nobody said.

    Attributes:
        arch: Name in `list_backbones`.
        layout: How the source names parameters, see `weights.layouts`.
        stride_in_1x1: See `BlockStyle`; means nothing to networks of basic blocks.
        channel_order: Of the pixels they were trained on.
        pixel_scale: What the brightest pixel is in terms of `mean` and `std`.
        mean: Subtracted from the pixels, in `channel_order`.
        std: Divided by, likewise.
        norm_eps: Added to the variance by the norms.
        interpolation: Which images were resized with.
        source: Who made them, or from where they came.
        licence: As SPDX writes it, where it does.
        top1: Percent of ImageNet's validation images, one crop.
        recipe: The detector's training that suits them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    arch: str | None = None
    layout: str | None = None
    stride_in_1x1: bool | None = None
    channel_order: Literal["RGB", "BGR"] | None = None
    pixel_scale: Literal[1, 255] = 255
    mean: Triple | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    norm_eps: float = Field(NORM_EPS, gt=0)
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
        """Returns which of `FACTS` nobody said."""
        return tuple(fact for fact in FACTS if getattr(self, fact) is None)

    def to_metadata(self) -> dict[str, str]:
        """Returns what `save_weights` stores beside the tensors."""
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
