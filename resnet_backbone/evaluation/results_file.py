"""Detections in COCO's results format, for images whose ground truth only a server has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_backbone.evaluation.compact import CompactDetections, compact
from resnet_backbone.evaluation.details import Details
from resnet_backbone.structures import Detections
from resnet_backbone.utils import distributed, storage
from resnet_backbone.utils.text import count_of


class ResultsWriter:
    """An `Evaluator` that computes nothing: it writes the detections of all ranks to a file.

    The format is COCO's (https://cocodataset.org/#format-results): a list of detections, each with
    `image_id`, `category_id`, `bbox`, `score` and, with masks, `segmentation`.

    Args:
        file: The JSON file to write; the main rank writes it.
        category_ids: The COCO category id of each class; None for a class that the file does not
            have, whose detections are left out.
        image_ids: The images, over all ranks.
        with_masks: Whether to write masks.
    """

    def __init__(
        self,
        file: Path,
        *,
        category_ids: Sequence[int | None],
        image_ids: Collection[int],
        with_masks: bool,
    ) -> None:
        self.file = file
        self.category_ids = tuple(category_ids)
        self.image_count = len(image_ids)
        self.with_masks = with_masks
        self.per_class: dict[str, dict[str, float]] = {}
        self.errors: dict[str, dict[str, dict[str, float]]] = {}
        self.details: Details | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all detections."""
        self._found: dict[int, CompactDetections] = {}
        self.explanation: str | None = None

    def process(self, detections: Sequence[Detections]) -> None:
        """Keeps the detections; an image that comes again is ignored.

        Raises:
            DataError: a box or a score is not finite.
        """
        for found in detections:
            if found.image_id not in self._found:
                self._found[found.image_id] = compact(
                    found, class_count=len(self.category_ids), with_masks=self.with_masks
                )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Writes the file and returns no metrics; every rank must call it.

        Raises:
            StorageError: the file cannot be written.
        """
        found: dict[int, CompactDetections] = {}
        for share in distributed.all_gather_object(self._found):
            found |= share
        count = distributed.on_main(lambda: self._write(found))
        images = f"{len(found)} of {count_of(self.image_count, 'image')}"
        self.explanation = (
            f"There are no annotations, so nothing was computed: {count_of(count, 'detection')} in"
            f" {images} are in {self.file}."
        )
        return {}

    def _write(self, found: Mapping[int, CompactDetections]) -> int:
        lines = [line for key in sorted(found) for line in self._lines(key, found[key])]
        storage.write_json(self.file, lines)
        return len(lines)

    def _lines(self, image_id: int, found: CompactDetections) -> Iterator[dict[str, Any]]:
        for index, box in enumerate(found.boxes.tolist()):
            category_id = self.category_ids[int(found.classes[index])]
            if category_id is None:
                continue
            line = {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [round(value, 2) for value in box],
                "score": round(float(found.scores[index]), 5),
            }
            if found.masks is not None:
                counts = found.masks[index].decode("ascii")
                line["segmentation"] = {"size": list(found.size), "counts": counts}
            yield line
