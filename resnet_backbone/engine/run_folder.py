"""The output folder of a run, which holds one run and is used by one process at a time."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from resnet_backbone.config.load import dump_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.attempts import MARK
from resnet_backbone.engine.checkpoint import Checkpoints, names_of, step_folders
from resnet_backbone.engine.environment import environment
from resnet_backbone.engine.state import FILES
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils import storage
from resnet_backbone.utils.folder_lock import LOCK, locked
from resnet_backbone.utils.own_files import LIST, OwnFiles
from resnet_backbone.utils.run_layout import (
    BACKBONE,
    BEST,
    CONFIG,
    CONFUSION,
    CONFUSION_DATA,
    CURVES,
    ENVIRONMENT,
    LABELS,
    LOG,
    METRICS,
    PICTURES,
    PRECISION_RECALL,
    PRECISION_RECALL_DATA,
    RESULTS,
    SKIPPED,
    TENSORBOARD,
    TRAIN_BATCHES,
    WEIGHTS,
)
from resnet_backbone.utils.text import listing

# Files in the order in which a run writes them.
AT_THE_START = (LOG, CONFIG, ENVIRONMENT, METRICS, LABELS, TRAIN_BATCHES)
AT_THE_END = (
    *(WEIGHTS, RESULTS, SKIPPED, CURVES, BACKBONE),
    *(PRECISION_RECALL, PRECISION_RECALL_DATA, CONFUSION, CONFUSION_DATA),
)
_FOLDERS = ("checkpoints", BEST, TENSORBOARD, PICTURES)

DETECTRON2 = "last_checkpoint"  # a file that detectron2's trainer writes, and this engine never

logger = logging.getLogger(__name__)


def open_folder(stack: ExitStack, output: Path, *, resume: bool, overwrite: bool) -> None:
    """Locks the folder until `stack` is closed, and checks that this run may use it.

    Nothing is removed yet; `discard` removes an earlier run once the new one is ready to start.

    Raises:
        ConfigError: both `resume` and `overwrite` are set.
        StorageError: the folder cannot be written, is in use, or holds a run that must be kept.
    """
    stack.enter_context(locked(output))
    claim(output, resume=resume, overwrite=overwrite)


def claim(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that the folder's content may be continued or overwritten as requested.

    A run is recognised by the list of its files, see `OwnFiles`. Files that are not on it are never
    removed or replaced.

    Raises:
        ConfigError: both `resume` and `overwrite` are set.
        StorageError: there is an earlier run but neither is set, the run to resume was written by
            detectron2's trainer, or others' files have the names of files that a run writes.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other; give only one of them")
    found = earlier_run(output)
    if resume and (output / DETECTRON2).exists() and not (output / "checkpoints").exists():
        raise StorageError(
            f"{output}: holds a run of detectron2's trainer; continue it with --engine detectron2,"
            " or choose another folder with output=..."
        )
    if found and not resume and not overwrite:
        raise StorageError(
            f"{output}: holds another run ({listing(found)}); continue it with --resume, discard it"
            " with --overwrite, or choose another folder with output=..."
        )
    _refuse_foreign(output, resume=resume)


def discard(output: Path) -> None:
    """Removes the files of an earlier run, if there is one, and says what else is kept.

    Raises:
        StorageError: they cannot be removed.
    """
    if earlier_run(output):
        _remove_run(output)
    if kept := _others(output):
        logger.info("%s: kept what no run of ours wrote: %s", output, listing(kept))


def earlier_run(output: Path) -> list[str]:
    """Returns the names of the files in the folder that a run wrote, with either engine."""
    return OwnFiles(output, "run").present()


def check_space(output: Path, needed: int) -> None:
    """Raises StorageError unless `needed` bytes are free."""
    free = shutil.disk_usage(output).free
    if free < needed:
        raise StorageError(
            f"{output}: two checkpoints need {needed / 1e9:.2f} GB, but only {free / 1e9:.2f} are "
            "free"
        )


def write_description(output: Path, cfg: RunConfig, world_size: int) -> None:
    """Writes the configuration and the environment, so that the run can be repeated.

    Raises:
        StorageError: they cannot be written.
    """
    storage.write_file(output / CONFIG, dump_config(cfg).encode())
    storage.write_json(output / ENVIRONMENT, environment(world_size))


def _refuse_foreign(output: Path, *, resume: bool) -> None:
    """Raises StorageError if files have the names of a run's files, but no run of ours wrote them.

    A copy of a run may lack the list, which is a hidden file. If such a run is to be continued, its
    intact checkpoints show that it is ours.
    """
    own = OwnFiles(output, "run")
    names = [name for name in (*AT_THE_START, *AT_THE_END) if os.path.lexists(output / name)]
    listed = own.listed()
    steps = [step for name in ("checkpoints", BEST) for step in step_folders(output / name)]
    unlisted = [step for step in steps if listed.isdisjoint(names_of(step))]
    if resume and any((step / storage.MANIFEST).is_file() for step in unlisted):
        own.adopt([*names, *(name for step in unlisted for name in names_of(step))])
        unlisted = []
    folders = [f"{name}/" for name in _FOLDERS]
    own.check([*names, *folders, *(f"{step.parent.name}/{step.name}" for step in unlisted)])


def _remove_run(output: Path) -> None:
    own = OwnFiles(output, "run")
    listed = own.listed()
    checkpoints = Checkpoints(output, keep=2)
    try:
        for folder in (checkpoints.folder, checkpoints.best_folder):
            for step in step_folders(folder):
                if listed.issuperset(names_of(step)):
                    storage.remove_folder(step, FILES)
    except OSError as error:
        raise StorageError(f"{output}: cannot remove the earlier run: {error}") from error
    own.remove()
    logger.info("%s: removed the earlier run", output)


def _others(output: Path) -> list[str]:
    """Returns what the folder contains besides a run, without looking into others' folders."""
    own = OwnFiles(output, "run").listed() | {LIST, LOCK, MARK}
    found = []
    for path in sorted(output.iterdir()):
        if path.is_dir() and path.name in _FOLDERS:
            found += [f"{path.name}/{below.name}" for below in sorted(path.iterdir())]
        else:
            found.append(f"{path.name}/" if path.is_dir() else path.name)
    return [name for name in found if name not in own]
