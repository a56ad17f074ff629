"""Networks agree with the card of their weights, or are refused."""

from __future__ import annotations

from resnet_backbone.backbone.resnet import NORM_EPS, Options
from resnet_backbone.backbone.variants import Variant
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.stored import Stored


def agreed(
    stored: Stored, variant: Variant, stride_in_1x1: bool | None, norm_eps: float | None
) -> tuple[bool, float]:
    """Returns where the network strides and its norms' eps, as stated or as the card says.

    Args:
        stored: The weights.
        variant: The network.
        stride_in_1x1: As stated; None leaves it to the card.
        norm_eps: Likewise.

    Raises:
        ConfigError: statement and card contradict each other (shows both), or neither says where
            bottlenecks stride.
    """
    card = stored.card
    known_stride = card.stride_in_1x1 if card is not None else None
    known_eps = card.norm_eps if card is not None else None
    if not variant.has_bottlenecks:
        stride_in_1x1, known_stride = False, False
    for name, stated, known in (
        ("stride_in_1x1", stride_in_1x1, known_stride),
        ("norm_eps", norm_eps, known_eps),
    ):
        if None not in (stated, known) and stated != known:
            raise ConfigError(
                f"{name}: got {stated!r}, but the card of {stored.source} says {known!r}"
            )
    stride = known_stride if stride_in_1x1 is None else stride_in_1x1
    if stride is None:
        raise ConfigError(
            f"{stored.source}: nothing is known about where these weights stride; state"
            " stride_in_1x1 (False for torchvision's and timm's, True for the paper's and MSRA's)"
        )
    return stride, norm_eps or known_eps or NORM_EPS


def refuse_other_network(stored: Stored, variant: Variant, options: Options) -> None:
    """Raises WeightsError if a network that exists was built otherwise than the card says."""
    card = stored.card
    if card is None:
        return
    facts: list[tuple[str, float, float | None]] = [("norm_eps", options.norm_eps, card.norm_eps)]
    if variant.has_bottlenecks:
        facts.append(("stride_in_1x1", options.stride_in_1x1, card.stride_in_1x1))
    for name, built, known in facts:
        if known is not None and built != known:
            raise WeightsError(
                f"{stored.source}: its card says {name}={known!r}, but the network was built with"
                f" {built!r}"
            )
