"""How images are read and resized, which belongs to the weights rather than to the dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from resnet_backbone.config.run_schema import RunConfig

C = TypeVar("C", bound=RunConfig)

logger = logging.getLogger(__name__)


def read_as_trained(cfg: C, stored: C, keys: Sequence[str]) -> C:
    """Returns `cfg` with the values of `keys` with which the weights were judged in training.

    Keys that are set on the command line are kept, and those that training left open ("auto").

    Args:
        cfg: The configuration to judge with.
        stored: The configuration inside the weights.
        keys: Keys of the section `data`.
    """
    given = {override.partition("=")[0].strip() for override in cfg.overrides}
    if "data" in given:
        return cfg
    known = {key: getattr(stored.data, key) for key in keys if f"data.{key}" not in given}
    known = {key: value for key, value in known.items() if value != "auto"}
    other = {key: value for key, value in known.items() if value != getattr(cfg.data, key)}
    if not other:
        return cfg
    now = {key: getattr(cfg.data, key) for key in other}
    logger.warning(
        "%s, as in the training of these weights; the configuration says %s: if that is meant, "
        "give it on the command line",
        *(", ".join(f"data.{key}={value}" for key, value in d.items()) for d in (other, now)),
    )
    return cfg.model_copy(update={"data": cfg.data.model_copy(update=other)})
