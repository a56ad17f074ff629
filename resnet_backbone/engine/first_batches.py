"""train_batches.png: the first images that a run trains on, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from resnet_backbone.engine.task import Task
from resnet_backbone.report.grid import draw_grid
from resnet_backbone.structures import Batch, ImageBatch

IMAGES = 12


class FirstBatches:
    """Draws the batches that the loop hands over until there are `IMAGES`; then it does nothing.

    They are the batches of the training itself, so nothing is read or drawn at random for it.

    Args:
        task: Draws a sample.
        file: The PNG file.
        enabled: False on other ranks, and where a run is resumed.
    """

    def __init__(self, task: Task, file: Path, *, enabled: bool) -> None:
        self._task = task
        self._file = file
        self._pictures: list[Image.Image] = []
        self._waiting = enabled

    def show(self, share: Sequence[Batch | ImageBatch], *, last: bool) -> None:
        """Adds the batches of a step; `last` if there will be no others.

        Raises:
            StorageError: the picture cannot be written.
        """
        if not self._waiting:
            return
        for batch in share:
            missing = IMAGES - len(self._pictures)
            self._pictures += self._task.draw_samples(batch, missing)
        self._waiting = bool(self._pictures) and len(self._pictures) < IMAGES and not last
        if self._pictures and not self._waiting:
            draw_grid(self._pictures, self._file)
            self._pictures = []
