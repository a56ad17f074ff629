"""Predictions for image files and folders, for tools/predict.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from resnet_backbone.engine.interrupt import stop_flag
from resnet_backbone.errors import DataError, Interrupted, StorageError
from resnet_backbone.tasks.detection.pictures import save_picture
from resnet_backbone.tasks.image_inputs import find_images
from resnet_backbone.utils import storage
from resnet_backbone.utils.folder_lock import output_folder
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.progress import track
from resnet_backbone.utils.text import count_of

PREDICTIONS = "predictions.json"
# The list of predictions is written again after this many seconds, or, if writing it takes long,
# after this many times as long.
WRITE_EVERY, WRITE_SHARE = 1.0, 20.0


class Form(Protocol):
    """How the predictions of one kind of model are drawn and listed."""

    def draw(self, found: Any) -> Image.Image:  # noqa: ANN401
        """Returns the picture of a prediction."""

    def entries(self, found: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # noqa: ANN401
        """Returns what is added to the entry of an image, and entries of their own."""

    def content(
        self, images: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns what predictions.json contains, given the entries of all images."""


@dataclass
class Outcome:
    """The outcome of predictions for a number of images.

    Attributes:
        drawn: Number of pictures written.
        failures: One line for each image that could not be used.
    """

    drawn: int = 0
    failures: list[str] = field(default_factory=list)


def predict_files(
    predict: Callable[..., Any], form: Form, inputs: Sequence[Path], output: Path
) -> Outcome:
    """Draws what is predicted for each image, and lists all of it in predictions.json.

    A picture has the name of its image, `street.jpg` for `street.png`, with a number if that name
    is taken: files that no earlier prediction wrote are never overwritten. predictions.json is
    written again and again while the images are worked on, and not at all if no image can be used.

    Args:
        predict: A predictor, called with a file and `image_id`; all that it finds is drawn and
            listed. The result has a `size` in pixels.
        form: How that is done, such as `CocoPredictions`.
        inputs: Image files, and folders, see `find_images`.
        output: The output folder, created if necessary.

    Returns:
        The number of pictures, and a line for each image that could not be used.

    Raises:
        StorageError: the output cannot be written.
        Interrupted: SIGINT or SIGTERM was received; what was predicted so far is written.
    """
    found = find_images(inputs, output)
    outcome = Outcome(failures=found.failures)
    if not found.files:
        return outcome
    with stop_flag() as flag, output_folder(output, "prediction", [PREDICTIONS]) as own:
        pictures = _picture_names(found.files, own)
        own.claim([*pictures, PREDICTIONS])
        predictions = _Predictions(predict, form, output / PREDICTIONS)
        steps = [*enumerate(zip(found.files, pictures, strict=True), start=1)]
        try:
            for image_id, (path, picture) in track(steps, "predicting", "predicted", "image"):
                if flag:
                    total = count_of(len(steps), "image")
                    raise Interrupted(f"stopped by a signal after {image_id - 1} of {total}")
                try:
                    predictions.add(path, image_id, output / picture)
                    outcome.drawn += 1
                except DataError as error:
                    outcome.failures.append(str(error))
        except BaseException:
            with suppress(StorageError):  # which must not hide the first error
                predictions.write()
            raise
        else:
            predictions.write()
        finally:
            own.forget_absent()
    return outcome


def _picture_names(files: Sequence[Path], own: OwnFiles) -> list[str]:
    """Returns a file name for each picture, none of which is that of an input."""
    folder = os.path.realpath(own.folder)
    inputs = {path.name for path in files if os.path.dirname(os.path.realpath(path)) == folder}
    return own.free_names([f"{path.stem}.jpg" for path in files], reserved=inputs)


class _Predictions:
    """What was predicted so far.

    Args:
        predict: The predictor.
        form: How predictions are drawn and listed.
        file: The JSON file.
    """

    def __init__(self, predict: Callable[..., Any], form: Form, file: Path) -> None:
        self._predict = predict
        self._form = form
        self._file = file
        self._images: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        self._due = 0.0  # time of the next writing

    def add(self, path: Path, image_id: int, picture: Path) -> None:
        """Predicts one image, writes its picture, and from time to time the file.

        Raises:
            DataError: the image cannot be read, or is too large for the memory.
            StorageError: a file cannot be written.
        """
        try:
            found = self._predict(path, image_id=image_id)
            drawn = self._form.draw(found)
            of_image, entries = self._form.entries(found)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                raise
            raise DataError(f"{path}: not enough memory for this image") from error
        save_picture(drawn, picture)
        height, width = found.size
        self._images.append(
            {
                "id": image_id,
                "file_name": str(path),
                "picture": picture.name,
                "height": height,
                "width": width,
                **of_image,
            }
        )
        self._entries += entries
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Writes the file, unless there is nothing to list.

        Raises:
            StorageError: it cannot be written.
        """
        if not self._images:
            return
        start = time.monotonic()
        storage.write_json(self._file, self._form.content(self._images, self._entries))
        end = time.monotonic()
        self._due = end + max(WRITE_EVERY, WRITE_SHARE * (end - start))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate memory, on a GPU (an error of its own type) or a CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
