"""Configurations given from Python: a name, a file or a loaded one, and values to replace."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.load import load_any_config, override_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.config.strict_yaml import read_text
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.trees import leaves

# ["solver.epochs=12"], {"solver.epochs": 12} or {"solver": {"epochs": 12}}
Overrides = Sequence[str] | Mapping[str, Any]


def given_config(config: str | Path | RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Returns a checked, frozen configuration.

    Args:
        config: The name of a shipped configuration, a file, or a configuration that is loaded.
        overrides: "key.path=value" arguments, see `load_config`.

    Raises:
        ConfigError: there is no such file, or there are errors in it or in the overrides.
    """
    if isinstance(config, str | os.PathLike):
        return load_any_config(os.fspath(config), overrides)
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"found a {type(config).__name__}, expected a configuration: a name, a file, or what "
            "load_config returns"
        )
    if not overrides:
        return config
    if isinstance(config, Config):
        return override_config(config, overrides, config.name)
    if isinstance(config, ClassificationConfig):
        return override_config(config, overrides, config.name)
    raise ConfigError(
        f"{overrides[0]}: the values of a {type(config).__name__} cannot be replaced here; give it "
        "complete"
    )


def as_arguments(overrides: Overrides, settings: Mapping[str, Any]) -> list[str]:
    """Returns "key.path=value" arguments for Python values; `settings` come last and so count.

    Args:
        overrides: Such arguments, or a mapping of keys, nested or dotted, to values.
        settings: Another mapping.

    Raises:
        ConfigError: a value has no counterpart in YAML.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides: got the text {overrides!r}, expected a list or a mapping")
    given = [] if isinstance(overrides, Mapping) else [*overrides]
    values = overrides if isinstance(overrides, Mapping) else {}
    pairs = [*leaves(values), *leaves(settings)]
    return [*given, *(f"{key}={_text(key, value)}" for key, value in pairs)]


def _text(key: str, value: Any) -> str:  # noqa: ANN401
    """Returns a value in YAML's notation, text without quotes where it reads the same."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return text if _reads_as_itself(text) else json.dumps(text, ensure_ascii=False)
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: a value that cannot be written as YAML: {error}") from None


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Returns what JSON can hold instead of a path, a section, or a number of numpy or torch."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _reads_as_itself(text: str) -> bool:
    try:
        return read_text(text, "")[0] == text
    except ConfigError:
        return False
