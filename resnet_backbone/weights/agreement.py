"""Compares settings with what is known about the weights; this happens nowhere else.

What the settings leave out is taken from the card, contradictions are refused, and what neither
states must be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.variants import Variant
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.presets import without_weights
from resnet_backbone.weights.stored import Stored

_TOLERANCE = 1e-3  # of mean and std, which people write with three digits
_STRIDE = "stride_in_1x1"
_STRIDE_HINT = " (stride: false for torchvision's and timm's, true for the paper's and MSRA's)"


@dataclass(frozen=True)
class Fact:
    """A property of weights that cannot be read off the tensors and must be known.

    Attributes:
        name: In `WeightsCard`: stride_in_1x1, norm_eps, channel_order, mean or std.
        key: The user's key for it, for messages.
        stated: The user's value; None leaves it to the weights.
    """

    name: str
    key: str
    stated: Any


def facts(stated: Mapping[str, Any], prefix: str = "") -> list[Fact]:
    """Returns facts with these names and values, and with keys that start with `prefix`."""
    return [Fact(name, f"{prefix}{name}", value) for name, value in stated.items()]


def agree(
    stated: list[Fact], card: WeightsCard | None, *, source: str | None, variant: Variant | None
) -> dict[str, Any]:
    """Returns the value of each fact, by its name.

    Args:
        stated: The facts that are needed.
        card: What is known about the weights; None if nothing is.
        source: A name for the weights, for messages; None if there are no weights, so that facts
            that are not stated are those of torchvision's weights.
        variant: The network, since one without bottlenecks has no 1x1 convolution with a stride;
            None for a network that is not ours.

    Raises:
        ConfigError: settings and card contradict each other (the message shows both), or neither
            states what must be known (the message names the keys); all of them at once.
    """
    strides = variant is not None and variant.has_bottlenecks
    relevant = [fact for fact in stated if strides or fact.name != _STRIDE]
    if source is None:
        order = next((fact.stated for fact in stated if fact.name == "channel_order"), None)
        known: WeightsCard | None = without_weights(order)
    else:
        known = None if card is None else card.at_255()
    found = {fact.name: None if known is None else getattr(known, fact.name) for fact in relevant}
    if source is not None:
        _refuse_contradictions(relevant, found, source)
    values = {f.name: found[f.name] if f.stated is None else f.stated for f in relevant}
    if "norm_eps" in values and values["norm_eps"] is None:
        values["norm_eps"] = NORM_EPS  # everybody's, where nobody says otherwise
    unknown = [fact.key for fact in relevant if values[fact.name] is None]
    if unknown:
        hint = _STRIDE_HINT if any(key.endswith(_STRIDE) for key in unknown) else ""
        raise ConfigError(
            f"{source}: nothing is known about what these weights were trained with; set "
            f"{', '.join(unknown)}{hint}"
        )
    return values if strides else {_STRIDE: False, **values}


def _refuse_contradictions(stated: list[Fact], known: Mapping[str, Any], source: str) -> None:
    lines = [
        f"\n  {fact.key}: got {fact.stated!r}, but the card says {known[fact.name]!r}"
        for fact in stated
        if _differ(fact.stated, known[fact.name])
    ]
    if lines:
        raise ConfigError(
            f"the settings contradict the card of {source}:{''.join(lines)}\n"
            "leave these keys out to take the card's"
        )


def _differ(stated: Any, known: Any) -> bool:  # noqa: ANN401
    """Returns whether two values differ; a value that is None differs from nothing."""
    if stated is None or known is None:
        return False
    if isinstance(known, tuple):
        pairs = zip(stated, known, strict=True)
        return any(abs(a - b) > _TOLERANCE * max(1.0, abs(b)) for a, b in pairs)
    return bool(stated != known)


def refuse_network_built_otherwise(stored: Stored, variant: Variant, options: Options) -> None:
    """Raises WeightsError if a network was built differently from what the card says."""
    card = stored.card
    if card is None:
        return
    built: list[tuple[str, float, float | None]] = [("norm_eps", options.norm_eps, card.norm_eps)]
    if variant.has_bottlenecks:
        built.append((_STRIDE, options.stride_in_1x1, card.stride_in_1x1))
    for name, value, known in built:
        if _differ(value, known):
            raise WeightsError(
                f"{stored.source}: its card says {name}={known!r}, but the network was built with"
                f" {value!r}"
            )
