"""Checkpoints: which are kept, which is resumed from, and what must never become one."""

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
from resnet_backbone.utils.tensors import is_finite, pack
from resnet_backbone.utils.text import listing

_STEP = re.compile(r"step_(\d{8,})")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read and verified.

    Attributes:
        folder: Where it lies.
        files: Names and contents.
    """

    folder: Path
    files: dict[str, bytes]


class Checkpoints:
    """The checkpoints of a run, below its output folder.

    Args:
        output: The run's folder.
        keep: How many of the newest stay in `checkpoints/`, at least 2.
    """

    def __init__(self, output: Path, keep: int) -> None:
        self.folder = output / "checkpoints"
        self.best_folder = output / "best"
        self.keep = keep

    def prepare(self) -> None:
        """Makes the folders and clears what interrupted saves have left; on the main rank.

        Raises:
            StorageError: that is impossible.
        """
        try:
            for folder in (self.folder, self.best_folder):
                storage.make_folder(folder)
                storage.remove_stale(folder, FILES)
        except (OSError, StorageError) as error:
            raise StorageError(f"{self.folder.parent}: cannot be prepared: {error}") from error

    def save(self, state: TrainState, about: Mapping[str, Any]) -> None:
        """Commits the state of all ranks; every rank must call it.

        Args:
            state: Alike on all ranks; the main rank's is written.
            about: JSON values to store along.

        Raises:
            DivergedError: a tensor holds NaN or infinity; nothing is written.
            StorageError: it cannot be written; older checkpoints are untouched.
        """
        everything = {**about, "generators": distributed.all_gather_object(seed.get_state())}
        distributed.on_main(lambda: self._save(state, everything))

    def save_best(
        self, weights: Mapping[str, Tensor], step: int, metadata: Mapping[str, str]
    ) -> None:
        """Commits weights as the best ones, in place of the former; on the main rank.

        Raises:
            DivergedError: a tensor holds NaN or infinity; nothing is written.
            StorageError: they cannot be written; the former ones are untouched.
        """
        self._refuse_non_finite({MODEL_FILE: weights})
        folder = self.best_folder / step_name(step)
        if not _is_intact(folder):
            _move_aside(folder)
            storage.commit_folder(folder, [(MODEL_FILE, pack(weights, metadata))])
        for other in step_folders(self.best_folder):
            if other != folder:
                storage.remove_folder(other, FILES)

    def newest(self) -> Found | None:
        """Returns the newest checkpoint that is intact; damaged ones are named in the log.

        Raises:
            StorageError: there are checkpoints, but all are damaged.
        """
        folders = step_folders(self.folder)
        for folder in folders:
            try:
                return Found(folder, storage.read_folder(folder))
            except StorageError as error:
                logger.warning("checkpoint skipped: %s", error)
        if folders:
            raise StorageError(
                f"{self.folder}: none of the {len(folders)} checkpoints is intact; "
                "start anew with --overwrite"
            )
        return None

    def _save(self, state: TrainState, about: Mapping[str, Any]) -> None:
        self._refuse_non_finite(state.tensors())
        folder = self.folder / step_name(state.progress.step)
        if _is_intact(folder):
            return
        _move_aside(folder)
        storage.commit_folder(folder, state.to_files(about))
        logger.info("saved %s", folder)
        self._remove_old()

    def _remove_old(self) -> None:
        """Keeps the newest intact ones; damaged ones are neither counted nor touched."""
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
                f"NaN or infinity in {listing(broken)}; nothing is saved, "
                f"the last checkpoint is {last or 'none'}"
            )


def step_name(step: int) -> str:
    """Returns the folder's name: "step_00001234"."""
    return f"step_{step:08d}"


def step_folders(parent: Path) -> list[Path]:
    """Returns the checkpoint folders below `parent`, the newest first."""
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
    """Makes room for a new checkpoint where a damaged one lies."""
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.damaged-{uuid.uuid4().hex[:8]}")
        try:
            folder.rename(aside)
        except OSError as error:
            raise StorageError(f"{folder}: damaged, and cannot be moved: {error}") from error
        logger.warning("%s was damaged; moved to %s", folder, aside.name)
