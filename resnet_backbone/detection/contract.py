"""What weights need from the configuration: taken from their card, or compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from resnet_backbone.backbone.foreign import is_foreign, weights_are_timms
from resnet_backbone.backbone.from_timm import timm_pixels
from resnet_backbone.backbone.variants import BACKBONES, Variant, get_variant
from resnet_backbone.config.schema import Config, ModelConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.card import Recipe, Triple, WeightsCard
from resnet_backbone.weights.presets import TORCHVISION
from resnet_backbone.weights.stored import find_card, stored_card

_TOLERANCE = 1e-3  # of mean and std, which people write with three digits
_RECIPE_BATCH = 16  # images per step that a card's learning rate is for


@dataclass(frozen=True)
class _Fact:
    """One thing that configuration and card both may say."""

    key: str
    stated: Any
    known: Any

    @property
    def value(self) -> Any:  # noqa: ANN401
        return self.known if self.stated is None else self.stated

    @property
    def contradicts(self) -> bool:
        if self.stated is None or self.known is None:
            return False
        if isinstance(self.known, tuple):
            pairs = zip(self.stated, self.known, strict=True)
            return any(abs(a - b) > _TOLERANCE * max(1.0, abs(b)) for a, b in pairs)
        return bool(self.stated != self.known)


def settle(cfg: Config, weights: str | Path | None = None) -> Config:
    """Returns `cfg` with everything decided that it leaves to the weights.

    These are the stride's place, the norms' eps, the pixels' order and normalisation and, with
    `solver.recipe: from_weights`, the optimizer. Without weights they are torchvision's. Settling
    twice changes nothing.

    Args:
        cfg: The run's configuration.
        weights: The file to ask; None: the one that `cfg` starts from.

    Raises:
        ConfigError: there is no such backbone; `cfg` contradicts the weights' card (shows both); or
            neither says what must be known (says which keys to set).
        WeightsError: the weights cannot be read.
    """
    model = cfg.model
    _refuse_unknown(model.backbone.name)
    source = weights or _source(model)
    if source is None:
        card, facts = WeightsCard(), _facts(model, TORCHVISION)
    else:
        card = find_weights_card(model, str(source)) or WeightsCard()
        facts = _facts(model, card.at_255())
        _refuse(facts, str(source))
    values = {fact.key: fact.value for fact in facts}
    backbone = model.backbone.model_copy(update=_below("model.backbone.", values))
    pixels = model.pixels.model_copy(update=_below("model.pixels.", values))
    settled = model.model_copy(update={"backbone": backbone, "pixels": pixels})
    return _with_recipe(cfg.model_copy(update={"model": settled}), card.recipe, source)


def recipe_warnings(cfg: Config) -> tuple[str, ...]:
    """Returns a warning where the classic recipe meets weights that came from a long one."""
    source = _source(cfg.model)
    if source is None or cfg.solver.optimizer != "sgd":
        return ()
    card = find_weights_card(cfg.model, source)
    if card is None or card.recipe is None or card.recipe.optimizer != "adamw":
        return ()
    return (
        f"{source} came from a long recipe, after which detectors want AdamW "
        f"({card.recipe.source}): SGD has cost 5 points of AP; solver.recipe=from_weights takes "
        f"lr {card.recipe.lr:g}, weight decay {card.recipe.weight_decay:g}",
    )


class Pixels(NamedTuple):
    """What `PixelConfig` says, once it is settled."""

    channel_order: Literal["RGB", "BGR"]
    mean: Triple
    std: Triple


def settled_pixels(model: ModelConfig) -> Pixels:
    """Returns the pixels' order and normalisation.

    Raises:
        ValueError: the configuration is not settled.
    """
    order, mean, std = model.pixels.channel_order, model.pixels.mean, model.pixels.std
    if order is None or mean is None or std is None:
        raise ValueError("settle the configuration first")
    return Pixels(order, mean, std)


def find_weights_card(model: ModelConfig, source: str) -> WeightsCard | None:
    """Returns what is known about weights of the model's backbone."""
    name = model.backbone.name
    if weights_are_timms(source):
        mean, std = timm_pixels(name, source)
        return WeightsCard(channel_order="RGB", mean=mean, std=std, source=name)
    return stored_card(source) if is_foreign(name) else find_card(source, name)


def _refuse_unknown(name: str) -> None:
    if not is_foreign(name):
        try:
            get_variant(name)
        except ConfigError as error:
            raise ConfigError(f"model.backbone.name: {error}") from None


def _source(model: ModelConfig) -> str | None:
    return model.weights or model.backbone.weights


def _facts(model: ModelConfig, card: WeightsCard) -> list[_Fact]:
    backbone, pixels = model.backbone, model.pixels
    stride = _Fact("model.backbone.stride_in_1x1", backbone.stride_in_1x1, card.stride_in_1x1)
    if not _strides_somewhere(backbone.name):
        stride = _Fact(stride.key, False, False)
    return [
        stride,
        _Fact("model.backbone.norm_eps", backbone.norm_eps, card.norm_eps),
        _Fact("model.pixels.channel_order", pixels.channel_order, card.channel_order),
        _Fact("model.pixels.mean", pixels.mean, card.mean),
        _Fact("model.pixels.std", pixels.std, card.std),
    ]


def _strides_somewhere(name: str) -> bool:
    """Whether there is a 1x1 convolution that could stride: none in basic blocks."""
    entry = BACKBONES.get(name) if name in BACKBONES else None
    return isinstance(entry, Variant) and entry.has_bottlenecks


def _refuse(facts: list[_Fact], origin: str) -> None:
    lines = [
        f"{fact.key}: the configuration says {fact.stated!r}, the weights' card {fact.known!r}"
        for fact in facts
        if fact.contradicts
    ]
    if lines:
        raise ConfigError(
            f"the configuration contradicts the card of {origin}:\n  "
            + "\n  ".join(lines)
            + "\nleave these keys out to take the card's"
        )
    unknown = [fact.key for fact in facts if fact.value is None]
    if unknown:
        raise ConfigError(
            f"{origin}: nothing is known about what these weights were trained with; set "
            + ", ".join(unknown)
        )


def _with_recipe(cfg: Config, recipe: Recipe | None, origin: str | Path | None) -> Config:
    solver = cfg.solver
    if solver.recipe == "config":
        return cfg
    if recipe is None:
        raise ConfigError(
            "solver.recipe: found from_weights, but "
            + (f"the card of {origin} has none" if origin else "there are no weights")
        )
    scale = solver.reference_batch_size / _RECIPE_BATCH
    chosen = recipe.model_dump(exclude={"source"}) | {"lr": recipe.lr * scale}
    literal = {override.partition("=")[0].strip() for override in cfg.overrides}
    update = {key: value for key, value in chosen.items() if f"solver.{key}" not in literal}
    return cfg.model_copy(update={"solver": solver.model_copy(update=update)})


def _below(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
