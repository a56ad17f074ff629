"""Completes a detector's configuration from the card of its weights, or checks it against it."""

from __future__ import annotations

import logging
from pathlib import Path

from resnet_backbone.backbone.foreign import is_foreign, weights_are_timms
from resnet_backbone.backbone.from_timm import timm_pixels
from resnet_backbone.backbone.variants import Variant, get_variant
from resnet_backbone.config.overrides import explicit_keys
from resnet_backbone.config.schema import Config, ModelConfig
from resnet_backbone.detection.from_weights import config_of, recipe_of
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.agreement import agree, facts
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.stored import Stored, find_card, read_plain, read_weights, stored_card

_BACKBONE = ("stride_in_1x1", "norm_eps")
_PIXELS = ("channel_order", "mean", "std")
_RECIPE_BATCH = 16  # images per step for which a card states the learning rate

logger = logging.getLogger(__name__)


def read_initial_weights(model: ModelConfig) -> Stored | None:
    """Reads the weights that a detector starts from, all of them, once.

    Of a whole detector, `model.backbone.weights` takes the backbone alone.

    Returns:
        The weights; None if there are none, or if timm loads its own.

    Raises:
        WeightsError: they cannot be read, or downloaded.
    """
    name = model.backbone.name
    source = model.weights or model.backbone.weights
    if source is None or (model.weights is None and weights_are_timms(source)):
        return None
    stored = read_plain(source, name) if is_foreign(name) else read_weights(source, name)
    return stored if model.weights is not None else stored.as_backbone()


def settle_detector(cfg: Config, weights: Stored | str | Path | None = None) -> Config:
    """Returns `cfg` with every value that it leaves to the weights filled in.

    These values are `stride_in_1x1`, `norm_eps`, the channel order and normalisation of the pixels
    and, with `solver.recipe: from_weights`, the optimizer settings. Without weights they are
    torchvision's. Settling twice changes nothing.

    Args:
        cfg: The run's configuration.
        weights: The weights if they have been read, or a file to use; None uses the file that `cfg`
            names. Only the card is read from a file, as far as possible.

    Raises:
        ConfigError: there is no such backbone; `cfg` contradicts the weights' card (the message
            shows both); or neither states a required value (the message names the keys to set).
        WeightsError: the weights cannot be read.
    """
    model = cfg.model
    variant = _known_variant(model.backbone.name)
    source, card = _source_and_card(model, weights)
    stated = [
        *facts({name: getattr(model.backbone, name) for name in _BACKBONE}, "model.backbone."),
        *facts({name: getattr(model.pixels, name) for name in _PIXELS}, "model.pixels."),
    ]
    values = agree(stated, card, source=source, variant=variant)
    backbone = model.backbone.model_copy(update={name: values[name] for name in _BACKBONE})
    pixels = model.pixels.model_copy(update={name: values[name] for name in _PIXELS})
    settled = model.model_copy(update={"backbone": backbone, "pixels": pixels})
    written_by = config_of(weights) if isinstance(weights, Stored) else None
    return _with_recipe(cfg.model_copy(update={"model": settled}), card, source, written_by)


def recipe_warnings(cfg: Config, weights: Stored | None = None) -> tuple[str, ...]:
    """Returns a warning if weights from a long training recipe meet the classic detector recipe.

    Args:
        cfg: The run's configuration.
        weights: The weights if they have been read; None uses the file that `cfg` names.
    """
    source, card = _source_and_card(cfg.model, weights)
    recipe = None if card is None else card.recipe
    if recipe is None or recipe.optimizer != "adamw" or cfg.solver.optimizer != "sgd":
        return ()
    return (
        f"{source} was trained with a long recipe, after which detectors should be trained with "
        f"AdamW ({recipe.source}): SGD has cost 5 points of AP. Set solver.recipe=from_weights for "
        f"AdamW with lr {recipe.lr:g} and weight decay {recipe.weight_decay:g}",
    )


def _source_and_card(
    model: ModelConfig, weights: Stored | str | Path | None
) -> tuple[str | None, WeightsCard | None]:
    """Returns a name for the weights, and what is known about them."""
    if isinstance(weights, Stored):
        return weights.source, weights.card
    source = weights or model.weights or model.backbone.weights
    return (None, None) if source is None else (str(source), _find_card(model, str(source)))


def _find_card(model: ModelConfig, source: str) -> WeightsCard | None:
    name = model.backbone.name
    if weights_are_timms(source):
        mean, std = timm_pixels(name, source)
        return WeightsCard(channel_order="RGB", mean=mean, std=std, source=name)
    if not is_foreign(name):
        return find_card(source, name)
    return stored_card(source) or read_plain(source, name).card


def _known_variant(name: str) -> Variant | None:
    if is_foreign(name):
        return None
    try:
        return get_variant(name)
    except ConfigError as error:
        raise ConfigError(f"model.backbone.name: {error}") from None


def _with_recipe(
    cfg: Config, card: WeightsCard | None, source: str | None, written_by: Config | None
) -> Config:
    if cfg.solver.recipe == "config":
        return cfg
    reference = cfg.solver.reference_batch_size
    if card is not None and card.recipe is not None:
        values = card.recipe.model_dump(exclude={"source"})
        values["lr"] *= reference / _RECIPE_BATCH
    elif written_by is not None:
        values = recipe_of(written_by, reference)
    elif cfg.solver.recipe == "auto":
        return cfg
    else:
        raise ConfigError(
            "solver.recipe is from_weights, but "
            + (f"the card of {source} has no recipe" if source else "there are no weights")
        )
    explicit = explicit_keys(cfg.overrides)
    update = {
        key: value
        for key, value in values.items()
        if f"solver.{key}" not in explicit and value != getattr(cfg.solver, key)
    }
    if update:  # there is nothing to say of a configuration that is settled again
        named = ", ".join(f"{key} {value}" for key, value in update.items())
        logger.info("solver.recipe is %s: %s, as for %s", cfg.solver.recipe, named, source)
    return cfg.model_copy(update={"solver": cfg.solver.model_copy(update=update)})
