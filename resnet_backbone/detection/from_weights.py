"""Takes network, input sizes and optimizer from the run that the initial weights are from."""

from __future__ import annotations

import logging
from typing import Any

from resnet_backbone.config.overrides import explicit_keys
from resnet_backbone.config.run_schema import Section
from resnet_backbone.config.schema import Config, DataConfig
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights.metadata import config_in
from resnet_backbone.weights.stored import Stored

# Keys of `model` that say where weights come from and how they are loaded, and what is detected.
_OF_THE_RUN = {
    *("model.settings", "model.weights", "model.allow_partial", "model.allow_extra"),
    *("model.class_layers", "model.mask", "model.num_classes", "model.backbone.weights"),
}
_RECIPE = (
    *("optimizer", "lr", "momentum", "nesterov"),
    *("weight_decay", "weight_decay_norm", "weight_decay_bias"),
)

logger = logging.getLogger(__name__)


class _Sizes(Section):
    """The keys of `data` that a network is trained for."""

    min_sizes: tuple[int, ...]
    max_size: int
    test_min_size: int
    test_max_size: int

    @staticmethod
    def of(data: DataConfig) -> _Sizes:
        return _Sizes(**{name: getattr(data, name) for name in _Sizes.model_fields})


def config_of(weights: Stored | None) -> Config | None:
    """Returns the configuration of the run that wrote these weights; None if it is not known.

    Raises:
        WeightsError: it is not valid, or for another task.
    """
    if weights is None or weights.kind == "backbone":
        return None
    return config_in(Config, weights.text, weights.source)


def with_settings_of(cfg: Config, weights: Stored | None) -> Config:
    """Returns `cfg` with the network and input sizes that `weights` were trained with.

    Only keys that have their default are replaced, none that the command line sets. The log lists
    what differs.

    Args:
        cfg: The configuration of the run.
        weights: The initial weights; only a detector's file of ours has a configuration.
    """
    stored = config_of(weights)
    if cfg.model.settings == "config" or stored is None or weights is None:
        return cfg
    explicit, changed, default = explicit_keys(cfg.overrides), list[str](), Config()

    def filled(own: Section, theirs: Section, untouched: Section, prefix: str) -> Section:
        update: dict[str, Any] = {}
        for name, value in own:
            key, other = f"{prefix}.{name}", getattr(theirs, name)
            if isinstance(value, Section) and isinstance(other, Section):
                update[name] = filled(value, other, getattr(untouched, name), key)
            elif value == getattr(untouched, name) != other and key not in explicit | _OF_THE_RUN:
                update[name] = other
                changed.append(f"{key} {value} -> {other}")
        return own.model_copy(update=update)

    model = filled(cfg.model, stored.model, default.model, "model")
    sizes = filled(_Sizes.of(cfg.data), _Sizes.of(stored.data), _Sizes.of(default.data), "data")
    if changed:
        logger.info(
            "%s as in %s (model.settings=from_weights): %s",
            *(count_of(len(changed), "key"), weights.source, listing(changed)),
        )
    data = cfg.data.model_copy(update=sizes.model_dump())
    return Config.model_validate(cfg.model_copy(update={"model": model, "data": data}).model_dump())


def recipe_of(stored: Config, reference_batch_size: int) -> dict[str, Any]:
    """Returns keys of `solver` as in the run that weights are from, for another batch size."""
    solver = stored.solver
    batch_size = solver.batch_size or solver.reference_batch_size
    values = {key: getattr(solver, key) for key in _RECIPE}
    return values | {"lr": solver.lr * reference_batch_size / batch_size}
