"""Predictions for image files and folders, for tools/predict.py."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from resnet_backbone.engine.interrupt import stop_flag
from resnet_backbone.errors import DataError, Interrupted
from resnet_backbone.evaluation.compact import encode_masks
from resnet_backbone.structures import Detections
from resnet_backbone.tasks.detection.pictures import save_picture
from resnet_backbone.tasks.detection.predictor import Predictor
from resnet_backbone.utils import storage

PREDICTIONS = "predictions.json"
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)


@dataclass
class Outcome:
    """The outcome of predictions for a number of images.

    Attributes:
        drawn: Number of pictures written.
        failures: One line for each image that could not be used.
    """

    drawn: int = 0
    failures: list[str] = field(default_factory=list)


def predict_files(predictor: Predictor, inputs: Sequence[Path], output: Path) -> Outcome:
    """Draws the detections of each image, and lists all of them in predictions.json.

    A picture has the name of its image, `street.jpg` for `street.png`, with a number if that name
    is taken; inputs are never overwritten. predictions.json has COCO's format: `images`,
    `annotations` (with scores) and `categories`.

    Args:
        predictor: The predictor; everything it detects is drawn and listed.
        inputs: Image files, and folders, which are searched recursively.
        output: The output folder, created if necessary.

    Returns:
        The number of pictures, and a line for each image that could not be used.

    Raises:
        StorageError: the output cannot be written.
        Interrupted: SIGINT or SIGTERM was received; pictures written so far remain, but
            predictions.json is not written.
    """
    outcome = Outcome()
    records: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    files = _find_images(inputs, outcome)
    storage.make_folder(output)
    taken = {path.resolve() for path in files}
    with stop_flag() as flag:
        for image_id, path in enumerate(_progress(files), start=1):
            if flag:
                raise Interrupted(
                    f"stopped by a signal after {image_id - 1} of {len(files)} images"
                )
            try:
                image = predictor.read(path)
            except DataError as error:
                outcome.failures.append(str(error))
                continue
            found = predictor(image, image_id=image_id)
            target = _free_name(output, path, taken)
            save_picture(predictor.draw(image, found, threshold=0.0), target)
            outcome.drawn += 1
            records["images"].append(_image_record(path, target, found))
            records["annotations"] += _annotations(found, predictor, len(records["annotations"]))
    categories = zip(predictor.category_ids, predictor.class_names, strict=True)
    content = records | {"categories": [{"id": key, "name": name} for key, name in categories]}
    storage.write_json(output / PREDICTIONS, content)
    return outcome


def _find_images(inputs: Iterable[Path], outcome: Outcome) -> list[Path]:
    """Returns each image once, folders in order of file names; records empty folders."""
    files: dict[Path, None] = {}
    for path in inputs:
        if not path.is_dir():
            files[path] = None
            continue
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        files |= dict.fromkeys(below)
        if not below:
            outcome.failures.append(f"{path}: this folder contains no image")
    return list(files)


def _progress(files: list[Path]) -> Iterable[Path]:
    return tqdm(files, desc="predicting", unit="image", disable=not sys.stderr.isatty())


def _free_name(output: Path, image: Path, taken: set[Path]) -> Path:
    """Returns a file name in the output folder that is not an input or an earlier picture."""
    number, target = 1, output / f"{image.stem}.jpg"
    while target.resolve() in taken:
        number += 1
        target = output / f"{image.stem}_{number}.jpg"
    taken.add(target.resolve())
    return target


def _image_record(path: Path, picture: Path, found: Detections) -> dict[str, Any]:
    height, width = found.size
    return {
        "id": found.image_id,
        "file_name": str(path),
        "picture": picture.name,
        "height": height,
        "width": width,
    }


def _annotations(found: Detections, predictor: Predictor, before: int) -> list[dict[str, Any]]:
    """Returns COCO annotations whose ids continue after `before`."""
    boxes = found.boxes.tolist()
    masks = None if found.masks is None else encode_masks(found.masks)
    entries = []
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        entry = {
            "id": before + index + 1,
            "image_id": found.image_id,
            "category_id": predictor.category_ids[int(found.classes[index])],
            "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
            "area": round((x1 - x0) * (y1 - y0), 2),
            "iscrowd": 0,
            "score": round(float(found.scores[index]), 5),
        }
        if masks is not None:
            counts = masks[index].decode("ascii")
            entry["segmentation"] = {"size": list(found.size), "counts": counts}
        entries.append(entry)
    return entries
