"""Predictions for image files and folders, for tools/predict.py."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_backbone.engine.interrupt import stop_flag
from resnet_backbone.errors import DataError, Interrupted, StorageError
from resnet_backbone.report.draw import ColorBy
from resnet_backbone.structures import Detections
from resnet_backbone.tasks.detection.image_inputs import find_images
from resnet_backbone.tasks.detection.pictures import save_picture
from resnet_backbone.tasks.detection.prediction import Prediction
from resnet_backbone.tasks.detection.predictor import DetectionPredictor
from resnet_backbone.utils import storage
from resnet_backbone.utils.folder_lock import output_folder
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.progress import track
from resnet_backbone.utils.text import count_of

PREDICTIONS = "predictions.json"
# The list of predictions is written again after this many seconds, or, if writing it takes long,
# after this many times as long.
WRITE_EVERY, WRITE_SHARE = 1.0, 20.0


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
    predictor: DetectionPredictor,
    inputs: Sequence[Path],
    output: Path,
    *,
    color_by: ColorBy = "class",
) -> Outcome:
    """Draws the detections of each image, and lists all of them in predictions.json.

    A picture has the name of its image, `street.jpg` for `street.png`, with a number if that name
    is taken: files that no earlier prediction wrote are never overwritten. predictions.json has
    COCO's format: `images`, `annotations` (with scores) and `categories`. It is written again and
    again while the images are worked on, and not at all if no image can be used.

    Args:
        predictor: The predictor; everything it detects is drawn and listed.
        inputs: Image files, and folders, see `find_images`.
        output: The output folder, created if necessary.
        color_by: "class", or "instance" to tell neighbours of one class apart in the pictures.

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
        predictions = _Predictions(predictor, output / PREDICTIONS, color_by)
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
    """What was predicted so far, in COCO's format.

    Args:
        predictor: The predictor.
        file: The JSON file.
        color_by: What the pictures' colours tell apart.
    """

    def __init__(self, predictor: DetectionPredictor, file: Path, color_by: ColorBy) -> None:
        self._predictor = predictor
        self._file = file
        self._color_by: ColorBy = color_by
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._due = 0.0  # time of the next writing

    def add(self, path: Path, image_id: int, picture: Path) -> None:
        """Predicts one image, writes its picture, and from time to time the file.

        Raises:
            DataError: the image cannot be read, or is too large for the memory.
            StorageError: a file cannot be written.
        """
        try:
            found = self._predictor(path, image_id=image_id)
            drawn = found.draw(threshold=0.0, color_by=self._color_by)
            entries = _annotations(found, len(self._annotations))
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                raise
            raise DataError(f"{path}: not enough memory for this image") from error
        save_picture(drawn, picture)
        self._images.append(_image_record(path, picture, found))
        self._annotations += entries
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
        pairs = zip(self._predictor.category_ids, self._predictor.class_names, strict=True)
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": key, "name": name} for key, name in pairs],
        }
        storage.write_json(self._file, content)
        end = time.monotonic()
        self._due = end + max(WRITE_EVERY, WRITE_SHARE * (end - start))


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate memory, on a GPU (an error of its own type) or a CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _image_record(path: Path, picture: Path, found: Detections) -> dict[str, Any]:
    height, width = found.size
    return {
        "id": found.image_id,
        "file_name": str(path),
        "picture": picture.name,
        "height": height,
        "width": width,
    }


def _annotations(found: Prediction, before: int) -> list[dict[str, Any]]:
    """Returns COCO annotations whose ids continue after `before`."""
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).tolist()
    return [
        {"id": before + index, "area": round(width * height, 2), "iscrowd": 0, **entry}
        for index, (entry, (width, height)) in enumerate(
            zip(found.to_coco(), sides, strict=True), 1
        )
    ]
