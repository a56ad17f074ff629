"""The output folder of a run, which holds one run and is used by one process at a time."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from resnet_backbone.config.load import dump_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.engine.checkpoint import Checkpoints, step_folders
from resnet_backbone.engine.state import FILES
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils import storage
from resnet_backbone.utils.run_layout import (
    BACKBONE,
    CONFIG,
    CURVES,
    ENVIRONMENT,
    LOG,
    METRICS,
    PICTURES,
    RESULTS,
    SKIPPED,
    TENSORBOARD,
    WEIGHTS,
)

try:
    import fcntl
except ImportError:  # on Windows, where the folder is not locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_FILES = (CONFIG, METRICS, LOG, RESULTS, WEIGHTS, BACKBONE, CURVES, ENVIRONMENT, SKIPPED)
# Folder -> pattern of the files that a run writes there.
_FOLDERS = {TENSORBOARD: "events.out.tfevents.*", PICTURES: "*.jpg"}

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


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Creates the folder if necessary, and locks it against other runs inside the block.

    Raises:
        StorageError: it cannot be written, or another process has locked it.
    """
    try:
        storage.make_folder(output)
        _probe(output)
        lock = (output / LOCK).open("a")
    except OSError as error:
        raise StorageError(f"{output}: cannot be written: {error}") from error
    with lock:
        if fcntl is not None:
            try:
                # The operating system releases this lock however the process ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StorageError(f"{output}: another process is training here") from error
            # Worker processes would inherit the lock, and keep it for seconds if we are killed.
            os.register_at_fork(after_in_child=lock.close)
        yield


def claim(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that the folder's content may be continued or overwritten as requested.

    Raises:
        ConfigError: both `resume` and `overwrite` are set.
        StorageError: there is an earlier run but neither is set, or the run to resume was written
            by detectron2's trainer.
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
            f"{output}: holds another run ({', '.join(found)}); continue it with --resume, "
            "discard it with --overwrite, or choose another folder with output=..."
        )


def discard(output: Path) -> None:
    """Removes the files of an earlier run, if there is one, and nothing else.

    Raises:
        StorageError: they cannot be removed.
    """
    if earlier_run(output):
        _remove_run(output)


def earlier_run(output: Path) -> list[str]:
    """Returns the names in the folder that belong to a run."""
    folders = ("checkpoints", "best", *_FOLDERS)
    return [name for name in (*_FILES, *folders) if (output / name).exists()]


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
    environment = {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ranks": world_size,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {
            name: importlib.metadata.version(name)
            for name in ("resnet-backbone", "torch", "torchvision", "numpy", "pillow")
        },
    }
    storage.write_file(output / CONFIG, dump_config(cfg).encode())
    storage.write_json(output / ENVIRONMENT, environment)


def _probe(output: Path) -> None:
    """Tries what saving a checkpoint needs, before hours of training are spent."""
    probe = output / f".probe-{uuid.uuid4().hex}"
    moved = probe.with_suffix(".moved")
    try:
        with probe.open("xb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        probe.rename(moved)
    finally:
        probe.unlink(missing_ok=True)
        moved.unlink(missing_ok=True)


def _remove_run(output: Path) -> None:
    try:
        checkpoints = Checkpoints(output, keep=2)
        for folder in (checkpoints.folder, checkpoints.best_folder):
            for step in step_folders(folder):
                storage.remove_folder(step, FILES)
        for name in _FILES:
            (output / name).unlink(missing_ok=True)
        for name, pattern in _FOLDERS.items():
            for path in (output / name).glob(pattern):
                path.unlink()
    except OSError as error:
        raise StorageError(f"{output}: cannot remove the earlier run: {error}") from error
    logger.info("%s: removed the earlier run", output)
