"""Checkpoints: saving them, keeping the newest and the best, and finding one to resume from."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from resnet_backbone.engine.state import FILES, MODEL_FILE, TrainState
from resnet_backbone.errors import DivergedError, StorageError
from resnet_backbone.utils import distributed, seed, storage
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.tensors import is_finite, pack
from resnet_backbone.utils.text import count_of, listing

_STEP = re.compile(r"step_(\d{8,})")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read and is intact.

    Attributes:
        folder: Its folder.
        files: Name and content of each file.
    """

    folder: Path
    files: dict[str, bytes]


class Checkpoints:
    """The checkpoints of a run, in its output folder.

    Args:
        output: The run's output folder.
        keep: How many of the newest checkpoints to keep in `checkpoints/`, at least 2.
    """

    def __init__(self, output: Path, keep: int) -> None:
        self.folder = output / "checkpoints"
        self.best_folder = output / "best"
        self.keep = keep
        self._own = OwnFiles(output, "run")

    def prepare(self) -> None:
        """Creates the folders and removes what interrupted saves have left; main rank only.

        Raises:
            StorageError: a folder cannot be written.
        """
        try:
            for folder in (self.folder, self.best_folder):
                storage.make_folder(folder)
                storage.remove_stale(folder, FILES)
        except (OSError, StorageError) as error:
            raise StorageError(f"{self.folder.parent}: cannot be prepared: {error}") from error

    def save(self, state: TrainState, about: Mapping[str, Any]) -> None:
        """Saves the state of all ranks as a checkpoint; every rank must call it.

        Args:
            state: The same on all ranks; the main rank writes it.
            about: JSON values to store with it.

        Raises:
            DivergedError: a tensor contains NaN or infinity; nothing is written.
            StorageError: the checkpoint cannot be written; older ones are untouched.
        """
        everything = {**about, "generators": distributed.all_gather_object(seed.get_state())}
        distributed.on_main(lambda: self._save(state, everything))

    def save_best(
        self, weights: Mapping[str, Tensor], step: int, metadata: Mapping[str, str]
    ) -> None:
        """Saves weights as the best so far and removes the previous best; main rank only.

        Raises:
            DivergedError: a tensor contains NaN or infinity; nothing is written.
            StorageError: the weights cannot be written; the previous best is untouched.
        """
        self._refuse_non_finite({MODEL_FILE: weights})
        folder = self.best_folder / step_name(step)
        if not _is_intact(folder):
            self._claim(folder)
            storage.commit_folder(folder, [(MODEL_FILE, pack(weights, metadata))])
        for other in step_folders(self.best_folder):
            if other != folder:
                storage.remove_folder(other, FILES)

    def newest(self) -> Found | None:
        """Returns the newest intact checkpoint, or None; damaged ones are logged.

        Raises:
            StorageError: there are checkpoints, but all of them are damaged.
        """
        folders = step_folders(self.folder)
        for folder in folders:
            try:
                return Found(folder, storage.read_folder(folder))
            except StorageError as error:
                logger.warning("checkpoint skipped: %s", error)
        if folders:
            raise StorageError(
                f"{self.folder}: damaged, all of {count_of(len(folders), 'checkpoint')}; "
                "start again with --overwrite"
            )
        return None

    def _save(self, state: TrainState, about: Mapping[str, Any]) -> None:
        self._refuse_non_finite(state.tensors())
        folder = self.folder / step_name(state.progress.step)
        if _is_intact(folder):
            return
        self._claim(folder)
        storage.commit_folder(folder, state.to_files(about))
        logger.info("saved %s", folder)
        self._remove_old()

    def _claim(self, folder: Path) -> None:
        """Makes room for a checkpoint, and lists its files as ours."""
        _move_aside(folder)
        self._own.claim(names_of(folder))

    def _remove_old(self) -> None:
        """Keeps the newest intact checkpoints; damaged ones are neither counted nor removed."""
        folders = step_folders(self.folder)
        intact = 0
        for folder in folders if len(folders) > self.keep else ():
            if intact == self.keep:
                storage.remove_folder(folder, FILES)
            else:
                intact += _is_intact(folder)

    def _refuse_non_finite(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        broken = [
            f"{file}: {name}"
            for file, tensors in files.items()
            for name, tensor in tensors.items()
            if not is_finite(tensor)
        ]
        if broken:
            last = next(iter(step_folders(self.folder)), None)
            raise DivergedError(
                f"NaN or infinity in {listing(broken)}; nothing was saved; "
                f"the last checkpoint is {last or 'none'}"
            )


def step_name(step: int) -> str:
    """Returns the name of a checkpoint folder: "step_00001234"."""
    return f"step_{step:08d}"


def names_of(folder: Path) -> list[str]:
    """Returns the names of the files in a checkpoint folder, relative to the run's folder."""
    return [f"{folder.parent.name}/{folder.name}/{name}" for name in (*FILES, storage.MANIFEST)]


def step_folders(parent: Path) -> list[Path]:
    """Returns the checkpoint folders in `parent`, newest first."""
    if not parent.is_dir():
        return []
    found = {path: _STEP.fullmatch(path.name) for path in parent.iterdir() if path.is_dir()}
    steps = {path: int(match[1]) for path, match in found.items() if match}
    return sorted(steps, key=lambda path: steps[path], reverse=True)


def _is_intact(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        storage.read_folder(folder)
    except StorageError as error:
        logger.warning("checkpoint is damaged: %s", error)
        return False
    return True


def _move_aside(folder: Path) -> None:
    """Renames a damaged checkpoint so that a new one can take its place."""
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}")
        try:
            folder.rename(aside)
        except OSError as error:
            raise StorageError(f"{folder}: damaged, and cannot be renamed: {error}") from error
        logger.warning("%s was damaged; renamed to %s", folder, aside.name)
