"""Test sizes of images, which belong to the weights rather than to the dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from resnet_backbone.config.run_schema import RunConfig

C = TypeVar("C", bound=RunConfig)

logger = logging.getLogger(__name__)


def at_trained_sizes(cfg: C, stored: C, keys: Sequence[str]) -> C:
    """Returns `cfg` with the test sizes with which the weights were judged in training.

    Keys that are set on the command line are kept.

    Args:
        cfg: The configuration to judge with.
        stored: The configuration inside the weights.
        keys: The test sizes, as keys of the section `data`.
    """
    given = {override.partition("=")[0].strip() for override in cfg.overrides}
    if "data" in given:
        return cfg
    sizes = {key: getattr(stored.data, key) for key in keys if f"data.{key}" not in given}
    now = {key: getattr(cfg.data, key) for key in sizes}
    if sizes == now:
        return cfg
    logger.warning(
        "%s, as in the training of these weights; the configuration says %s: if that is meant, "
        "give it on the command line",
        *(", ".join(f"data.{key}={value}" for key, value in d.items()) for d in (sizes, now)),
    )
    return cfg.model_copy(update={"data": cfg.data.model_copy(update=sizes)})
