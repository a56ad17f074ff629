"""What may be different when a run is resumed, in its settings and in its data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.checkpoint import Found
from resnet_backbone.engine.state import STATE_FILE, read_state_record
from resnet_backbone.errors import ConfigError, DataError, StorageError
from resnet_backbone.utils.text import count_of
from resnet_backbone.utils.trees import leaves

logger = logging.getLogger(__name__)

# Keys that may change when a run is resumed, and why. All others must stay as they are: they change
# what is computed.
MAY_CHANGE: Mapping[str, str] = {
    "name": "only a label",
    "output": "where files are",
    "overrides": "a record",
    "device": "the machine",
    "log_period": "how often",
    "data.root": "where files are",
    "data.train.images": "where files are",
    "data.train.annotations": "where files are; their content is compared",
    "data.val.images": "where files are",
    "data.val.annotations": "where files are; their content is compared",
    "data.train": "where files are; names and labels of the images are compared",
    "data.val": "where files are; names and labels of the images are compared",
    "data.val_labels": "where files are; the labels are compared",
    "data.workers": "the machine",
    "data.on_bad_sample": "how to treat images that cannot be used",
    "data.max_pixels": "how to treat images that cannot be used",
    "data.check_images": "when images that cannot be used are found",
    "model.weights": "where files are; the checkpoint has newer weights",
    "model.allow_partial": "how initial weights are loaded; the checkpoint has newer ones",
    "model.allow_extra": "how initial weights are loaded; the checkpoint has newer ones",
    "model.class_layers": "how initial weights are loaded; the checkpoint has newer ones",
    "model.backbone.weights": "where files are; the checkpoint has newer weights",
    "model.backbone.activation_checkpointing": "the machine; results are the same",
    "model.activation_checkpointing": "the machine; results are the same",
    "model.mean_image": "where files are; the mean is compared",
    "solver.max_iter": "how long",
    "solver.reference_max_iter": "how long; milestones and warm-up are compared",
    "evaluation.period": "how often",
    "evaluation.times": "how often",
    "evaluation.patience": "how long",
    "evaluation.batch_size": "the machine",
    "evaluation.loss": "what is reported",
    "evaluation.pictures": "what is reported",
    "evaluation.progress_pictures": "what is reported",
    "evaluation.worst_pictures": "what is reported",
    "evaluation.color_by": "what is reported",
    "checkpoint.period": "how often",
    "checkpoint.keep": "how many",
}


# What a checkpoint stores beside the identity of the data.
ABOUT_THE_RUN = ("config", "generators")


class Condition(NamedTuple):
    """Another key, and the value of it for which a key must stay; None: any value but null."""

    key: str
    value: str | None
    reason: str


# Keys of MAY_CHANGE that must stay under a condition.
MUST_STAY_IF: Mapping[str, Condition] = {
    "log_period": Condition(
        "solver.warmup_until_error", None, "the error of a log period ends the warm-up"
    ),
    "model.mean_image": Condition(
        "model.mean_image", "auto", "it also determines the colour of the padding"
    ),
    "solver.max_iter": Condition(
        "solver.schedule", "cosine", "it determines the learning rate of every step"
    ),
    "evaluation.period": Condition(
        "solver.schedule", "plateau", "the evaluations determine the learning rate"
    ),
    "evaluation.times": Condition(
        "solver.schedule", "plateau", "the evaluations determine the learning rate"
    ),
}


def checked_about(found: Found) -> dict[str, Any]:
    """Returns what a checkpoint says of its run: configuration, data and random generators.

    Raises:
        StorageError: it is not what a run writes.
    """
    about = read_state_record(found.files)["about"]
    kinds = {"config": dict, "class_names": list, "generators": list}
    for key, kind in kinds.items():
        if not isinstance(about.get(key), kind):
            raise StorageError(
                f"{found.folder}: {STATE_FILE}: about.{key}: expected a {kind.__name__}"
            )
    solver = about["config"].get("solver")
    if not isinstance(solver, dict) or not isinstance(solver.get("max_iter"), int):
        raise StorageError(f"{found.folder}: {STATE_FILE}: about.config.solver: expected max_iter")
    return about


def check_same_config(saved: Mapping[str, Any], cfg: RunConfig, checkpoint: Path) -> None:
    """Checks that a run is continued with the settings it was started with.

    Args:
        saved: The configuration in the checkpoint, as JSON values.
        cfg: The configuration to continue with.
        checkpoint: The checkpoint's folder, for messages.

    Raises:
        ConfigError: they differ in a key that may not change; the message lists every difference.
    """
    before, now = dict(leaves(saved)), dict(leaves(cfg.model_dump(mode="json")))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    lines = []
    for key in changed:
        reason = must_stay(key, before) or must_stay(key, now)
        if reason is not None:
            values = f"{before.get(key)} in the checkpoint, {now.get(key)} now"
            lines.append(f"\n  {key}: {values}{reason and f' ({reason})'}")
    if lines:
        raise ConfigError(
            f"{checkpoint} was written with other settings:{''.join(lines)}\n"
            "continue with the same settings, or train in another folder (output=...)"
        )
    for key in changed:
        logger.info("%s: %s before, %s from now on", key, before.get(key), now.get(key))


def must_stay(key: str, settings: Mapping[str, Any]) -> str | None:
    """Returns why a key must stay when a run goes on, "" if that needs no reason, or None.

    Args:
        key: A dotted key.
        settings: The run's settings, by dotted key.
    """
    if key not in MAY_CHANGE:
        return ""
    if key not in MUST_STAY_IF:
        return None
    other, value, reason = MUST_STAY_IF[key]
    found = settings.get(other)
    holds = found is not None if value is None else found == value
    return f"{other} is {found}: {reason}" if holds else None


def check_same_data(
    saved: Mapping[str, Any], identity: Mapping[str, Any], checkpoint: Path, *, plateau: bool
) -> bool:
    """Checks that a run is continued with the data it was started with.

    The validation images and annotations may be others, so that a run that stopped because of a
    defect in them can go on.

    Args:
        saved: What `Task.identity` returned when the checkpoint was written, as JSON values.
        identity: What it returns now.
        checkpoint: The checkpoint's folder, for messages.
        plateau: Whether the learning rate depends on the scores so far.

    Returns:
        Whether the validation data are the same.

    Raises:
        DataError: classes or training data are others, or the validation data on which the learning
            rate depends.
    """
    if len(saved["class_names"]) != len(identity["class_names"]):
        trained_on = count_of(len(saved["class_names"]), "class", "classes")
        raise DataError(
            f"{checkpoint} was trained on {trained_on}, but the "
            f"annotations have {len(identity['class_names'])}"
        )
    now = json.loads(json.dumps(identity))
    before = {key: value for key, value in saved.items() if key not in ABOUT_THE_RUN}
    for key in sorted(now.keys() | before.keys()):
        values = before.get(key), now.get(key)
        if values[0] != values[1] and (plateau or not _differ_in_validation(*values)):
            raise DataError(
                f"{checkpoint} was trained on other annotations: {key} was {values[0]}, "
                f"now it is {values[1]}; restore them, or use another folder (output=...)"
            )
    return now == before


def _differ_in_validation(before: object, now: object) -> bool:
    """Whether two entries of a task's identity differ in the validation split alone."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return False
    return before | {"val": None} == now | {"val": None}
