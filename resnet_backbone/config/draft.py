"""A configuration while its layers are merged: files, then `key=value` arguments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.explain import describe, dotted, is_echo, show
from resnet_backbone.config.lengths import fit_to_length
from resnet_backbone.config.schema import Config
from resnet_backbone.config.strict_yaml import MAX_DEPTH, MAX_KEY, Keys, read_text
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.trees import leaves

MAX_BASES = 10
MAX_SHOWN = 30  # errors in one message
COMMAND_LINE = "command line"
SPLITS = ("train", "val")
_TWO_LENGTHS = "solver.max_iter and solver.epochs: both are set; set one of the two"
_TWO_PERIODS = "evaluation.period and evaluation.times: both are set; set one of the two"

logger = logging.getLogger(__name__)


class Draft:
    """A configuration while its layers are merged.

    Args:
        schema: The schema of the finished configuration.
        path: The file that was asked for.

    Attributes:
        tree: The merged layers as nested mappings, not yet checked.
        origins: Where the value of each key was written.
        layers: The number of the layer that set each key; the command line is the last one.
        problems: Errors in the overrides themselves.
    """

    def __init__(self, schema: type[Config] | type[ClassificationConfig], path: Path) -> None:
        self.schema = schema
        self.path = path
        self.tree: dict[str, Any] = schema(name=path.stem).model_dump()
        self.origins: dict[Keys, str] = {}
        self.layers: dict[Keys, int] = {}
        self._layer = 0
        self.problems: list[str] = []

    def merge(self, layer: Mapping[str, Any], origin: Callable[[Keys], str]) -> None:
        """Merges `layer` over the layers so far; `origin` maps a key to where it was written."""
        self._layer += 1
        self._settle_length(layer, origin)
        self._settle_evaluations(layer, origin)
        self._merge(self.tree, layer, (), origin)

    def _settle_length(self, layer: Mapping[str, Any], origin: Callable[[Keys], str]) -> None:
        """Lets `solver.max_iter` replace the epochs of earlier layers, and the other way round.

        The length that the schedule was written for stays known, see `solver.reference_max_iter`;
        to a file's `solver.max_iter`, the schedule of earlier layers is fitted at once.
        """
        new, old = layer.get("solver"), self.tree["solver"]
        if not isinstance(new, dict) or not isinstance(old, dict):
            return
        if not (given := {key for key in ("max_iter", "epochs") if new.get(key) is not None}):
            return
        if on_command_line := origin(("solver",)) == COMMAND_LINE:  # where each argument is a layer
            before = {key for key in ("max_iter", "epochs") if old.get(key) is not None}
            given |= {key for key in before if self.origins.get(("solver", key)) == COMMAND_LINE}
        if len(given) > 1:
            self.problems.append(_TWO_LENGTHS)
            return
        own_plan = new.get("reference_max_iter") if "epochs" in given else None  # of a dump
        planned = own_plan or old.get("reference_max_iter") or old.get("max_iter")
        self.origins["solver", "reference_max_iter"] = "the length that the schedule is for"
        if given == {"epochs"}:
            length = planned if isinstance(planned, int) else old.get("max_iter")
            self.tree["solver"] = old | {"reference_max_iter": planned, "max_iter": length}
        else:
            if not on_command_line:  # the command line's is fitted together with the batch size
                own = {key for key, _ in leaves(layer)}
                now = self.tree | {"solver": old | new}
                for path, value in fit_to_length(now, new["max_iter"], planned, own).items():
                    section, _, key = path.partition(".")
                    before, self.tree[section][key] = self.tree[section][key], value
                    self.origins[section, key] = f"fitted: {origin(('solver', 'max_iter'))}"
                    logger.info("%s: %s -> %s (max_iter in a file)", path, before, value)
            reference = planned if on_command_line else None
            self.tree["solver"] |= {"epochs": None, "reference_max_iter": reference}

    def _settle_evaluations(self, layer: Mapping[str, Any], origin: Callable[[Keys], str]) -> None:
        """Lets `evaluation.period` replace the `evaluation.times` of earlier layers.

        A layer with both is a dump, where `times` counts and `period` is what came of it.
        """
        new, old = layer.get("evaluation"), self.tree["evaluation"]
        if not isinstance(new, dict) or not isinstance(old, dict):
            return
        other = {"period": "times", "times": "period"}
        given = [key for key in other if new.get(key) is not None]
        if len(given) != 1:
            return
        if origin(("evaluation",)) == COMMAND_LINE:
            if self.origins.get(("evaluation", other[given[0]])) == COMMAND_LINE:
                self.problems.append(_TWO_PERIODS)
        if given == ["period"] and old.get("times") is not None:
            self.tree["evaluation"] = old | {"times": None}
            self.origins["evaluation", "times"] = "since evaluation.period is set"

    def _merge(
        self,
        target: dict[str, Any],
        layer: Mapping[str, Any],
        keys: Keys,
        origin: Callable[[Keys], str],
    ) -> None:
        for key, value in layer.items():
            place = (*keys, key)
            self.origins[place] = origin(place)
            self.layers[place] = self._layer
            if isinstance(value, dict):
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                self._merge(target[key], value, place, origin)
            else:
                target[key] = _normal(value)

    def override(self, argument: str) -> None:
        """Merges one "key.path=value" argument, or records what is wrong with it."""
        path, equals, text = argument.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            self.problems.append(f"{show(argument)} ({COMMAND_LINE}): expected key.path=value")
        elif len(path) > MAX_KEY or len(keys) > MAX_DEPTH:
            expected = f"a key of at most {MAX_KEY} characters and {MAX_DEPTH} parts"
            self.problems.append(f"{show(argument)} ({COMMAND_LINE}): expected {expected}")
        elif keys[0] == "overrides":
            self.problems.append(f"{argument!r} ({COMMAND_LINE}): this key cannot be set")
        else:
            try:
                value, _ = read_text(text, f"{path.strip()} ({COMMAND_LINE})")
            except ConfigError as error:
                self.problems.append(str(error))
                return
            for key in reversed(keys):
                value = {key: value}
            self._layer = MAX_BASES + 2  # all arguments are one layer
            self._settle_length(value, lambda _: COMMAND_LINE)
            self._settle_evaluations(value, lambda _: COMMAND_LINE)
            self._merge(self.tree, value, (), lambda _: COMMAND_LINE)

    def draw_nothing_for_own_paths(self) -> None:
        """Sets `data.shapes` to None if a later layer names the files of another dataset."""
        drawn, data = self.layers.get(("data", "shapes")), self.tree.get("data")
        if drawn is None or not isinstance(data, dict) or data.get("shapes") is None:
            return
        names = [("data", split, key) for split in SPLITS for key in ("images", "annotations")]
        own = [dotted(keys) for keys in names if self.layers.get(keys, 0) > drawn]
        if own:
            data["shapes"] = None
            self.origins["data", "shapes"] = f"since {', '.join(own)} is set"
            logger.info("data.shapes: nothing is drawn, since %s is set too", ", ".join(own))

    def validate(self) -> Config | ClassificationConfig:
        """Returns the configuration; raises a ConfigError that lists all errors."""
        findings: list[ErrorDetails] = []
        config = None
        try:
            config = self.schema.model_validate(self.tree, strict=True)
        except ValidationError as error:
            findings = [found for found in error.errors() if not is_echo(found)]
        total = len(self.problems) + len(findings)
        if config is None or total:
            shown = self.problems[:MAX_SHOWN]
            shown += map(self._sentence, findings[: MAX_SHOWN - len(shown)])
            if len(shown) < total:
                shown.append(f"and {total - len(shown)} more")
            count = "1 error" if total == 1 else f"{total} errors"
            lines = "".join(f"\n  {problem}" for problem in shown)
            raise ConfigError(f"{count} in the configuration {self.path}:{lines}")
        return config

    def _sentence(self, finding: ErrorDetails) -> str:
        place = finding["loc"]
        names = tuple(map(str, place))
        named = [self.origins.get(names[:length]) for length in range(len(names), 0, -1)]
        origin = next((found for found in named if found), "default")
        return f"{dotted(place)} ({origin}): {describe(finding, self.schema)}"


def _normal(value: Any) -> Any:  # noqa: ANN401
    """Turns lists into tuples and integral floats into integers, so max_iter may be 2.7e5."""
    if isinstance(value, list):
        return tuple(_normal(item) for item in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
