"""COCO's average precision of boxes and masks, over any number of ranks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.average_precision import MAX_DETECTIONS, average_precision
from resnet_backbone.evaluation.compact import CompactDetections, compact, join, take
from resnet_backbone.evaluation.confusion import match_objects
from resnet_backbone.evaluation.details import Details
from resnet_backbone.evaluation.ground_truth import (
    Record,
    Truth,
    pack_truth,
    select_ground_truth,
)
from resnet_backbone.evaluation.mistakes import break_down
from resnet_backbone.evaluation.zero_ap import explain
from resnet_backbone.structures import Detections
from resnet_backbone.utils import distributed
from resnet_backbone.utils.json_files import read_json
from resnet_backbone.utils.text import count_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """The result that the main rank sends to the others."""

    metrics: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None


class CocoEvaluator:
    """Computes COCO's twelve metrics for boxes and masks, AP per class, and the cost of errors.

    The metrics are in [0, 1]. Without ground truth of a size or class, for which COCO's code
    returns -1, the value is NaN. Crowd regions follow COCO's rules: detections inside them are
    neither right nor wrong. Objects without an outline count for boxes, but not for masks.

    Args:
        annotations: The JSON file.
        category_ids: The COCO category id of each class; None for a class that the file does not
            have, whose detections are left out.
        class_names: The name of each class.
        image_ids: The images to evaluate on, over all ranks.
        tasks: "bbox", "segm" or both.
        checked: Returns what the data package accepted of that file, in COCO format; called once,
            on the main rank. None reads the file as it is: C code gets what is in it.
        max_detections: Number of detections per image and class that count, those with the highest
            scores; 100 or more. COCO's official metrics count 100.

    Raises:
        ValueError: `max_detections` is below 100.
    """

    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None
    details: Details | None

    def __init__(
        self,
        annotations: Path,
        *,
        category_ids: Sequence[int | None],
        class_names: Sequence[str],
        image_ids: Sequence[int],
        tasks: Sequence[str] = ("bbox", "segm"),
        checked: Callable[[], Record] | None = None,
        max_detections: int = MAX_DETECTIONS,
    ) -> None:
        if max_detections < MAX_DETECTIONS:
            raise ValueError(
                f"max_detections is {max_detections}, expected {MAX_DETECTIONS} or more"
            )
        self.annotations = annotations
        self.category_ids = tuple(category_ids)
        self.class_names = distinct_names(class_names, category_ids)
        self.image_ids = frozenset(image_ids)
        self.tasks = tuple(tasks)
        self._checked = checked or (lambda: read_json(annotations))
        self.max_detections = max_detections
        self._truth: Truth | None = None
        self.reset()

    def reset(self) -> None:
        """Discards all detections."""
        self._found: dict[int, CompactDetections] = {}
        self.per_class = {}
        self.errors = {}
        self.explanation = None
        self.details = None

    def process(self, detections: Sequence[Detections]) -> None:
        """Stores detections, masks as RLEs; an image that is passed twice counts once.

        Args:
            detections: On any device, with masks if the tasks include "segm".

        Raises:
            DataError: a box or a score is not finite.
            ValueError: an image is not one of `image_ids`, or see `compact`.
        """
        with_masks, class_count = "segm" in self.tasks, len(self.category_ids)
        for found in detections:
            if found.image_id not in self.image_ids:
                raise ValueError(f"image {found.image_id} is not one of the evaluated images")
            if found.image_id not in self._found:
                self._found[found.image_id] = compact(
                    found, class_count=class_count, with_masks=with_masks
                )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {"bbox": {"AP": ..}, "segm": {..}}, named by `metric_names`; a collective call.

        The main rank computes the result, which is the same on every rank. Also sets `per_class`,
        `errors` and `explanation`, and on the main rank `details`.

        Raises:
            DataError: masks and annotations have different image sizes.
        """
        # Several ranks may have the same image, if padding made their shares equal; the first rank
        # counts.
        found: dict[int, CompactDetections] = {}
        for share in distributed.all_gather_object(self._found):
            found = share | found
        outcome = distributed.on_main(lambda: self._judge(found))
        self.per_class, self.errors = outcome.per_class, outcome.errors
        self.explanation = outcome.explanation
        return outcome.metrics

    def _judge(self, found: Mapping[int, CompactDetections]) -> _Outcome:
        truth = self._load_truth()
        numbered = self._numbered(found, truth)
        joined = join(numbered, self.max_detections)
        metrics, per_class, errors, precision = {}, {}, {}, {}
        for task in self.tasks:
            own = truth.for_task(task)
            scores = average_precision(own, joined, task, self.max_detections)
            metrics[task], precision[task] = scores.metrics, scores.precision
            per_class[task] = dict(zip(self.class_names, scores.per_class.tolist(), strict=True))
            errors[task] = break_down(own, joined, task)
        matches = match_objects(truth, joined) if "bbox" in self.tasks else None
        self.details = Details(self.class_names, truth.image_ids, precision, matches)
        return _Outcome(metrics, per_class, errors, self._explain(metrics, numbered, truth))

    def _load_truth(self) -> Truth:
        if self._truth is None:
            content = select_ground_truth(
                self._checked(),
                categories=self._categories(),
                image_ids=self.image_ids,
            )
            self._truth = pack_truth(content, with_masks="segm" in self.tasks)
            self._warn_of_crowded_images(self._truth)
            if "segm" in self.tasks:
                self._warn_of_missing_outlines(self._truth)
        return self._truth

    def _categories(self) -> dict[int, str]:
        """Returns id and name of each class; classes that the file does not have get free ids."""
        free = count(1 + max((key for key in self.category_ids if key is not None), default=0))
        ids = [next(free) if key is None else key for key in self.category_ids]
        return dict(zip(ids, self.class_names, strict=True))

    def _warn_of_missing_outlines(self, truth: Truth) -> None:
        """Warns if objects have no outline, so that masks cannot be compared with them."""
        missing = int((~truth.outlined).sum())
        if missing:
            logger.warning(
                "%s: %d of %s have no outline; they count for bbox, but not for segm",
                self.annotations,
                missing,
                count_of(len(truth.masks), "object"),
            )

    def _warn_of_crowded_images(self, truth: Truth) -> None:
        """Warns if there are more objects than detections that count."""
        pairs = np.stack((truth.images, truth.classes))[:, ~truth.crowd]
        (images, _), counts = np.unique(pairs, axis=1, return_counts=True)
        crowded = counts > self.max_detections
        if crowded.any():
            logger.warning(
                "%d of %s hold more than %d objects of a class, up to %d, but only the %d "
                "best detections of an image and class are counted: AP cannot reach 1. Raise "
                "evaluation.max_detections",
                len(np.unique(images[crowded])),
                count_of(len(self.image_ids), "image"),
                self.max_detections,
                counts.max(),
                self.max_detections,
            )

    def _numbered(
        self, found: Mapping[int, CompactDetections], truth: Truth
    ) -> dict[int, CompactDetections]:
        """Returns the detections by their image's index, without those of classes without an id.

        Also checks what COCO's code would silently score as zero.
        """
        absent = len(self.image_ids) - len(found)
        if absent:
            logger.warning(
                "%d of %s were not evaluated; their objects count as missed",
                absent,
                count_of(len(self.image_ids), "image"),
            )
        numbers = {image_id: number for number, image_id in enumerate(truth.image_ids)}
        for image_id, image in found.items():
            size = truth.sizes[numbers[image_id]]
            if image.masks is not None and image.size != size:
                raise DataError(
                    f"{self.annotations}: image {image_id}: the file says {size[1]} x {size[0]}"
                    f" pixels, the image has {image.size[1]} x {image.size[0]}"
                )
        known = np.array([key is not None for key in self.category_ids], dtype=bool)
        return {
            numbers[image_id]: take(image, np.flatnonzero(known[image.classes]))
            for image_id, image in found.items()
        }

    def _explain(
        self,
        metrics: dict[str, dict[str, float]],
        found: Mapping[int, CompactDetections],
        truth: Truth,
    ) -> str | None:
        wanted = Counter(self.class_names[index] for index in truth.classes[~truth.crowd])
        classes = (self.class_names[index] for image in found.values() for index in image.classes)
        scores = [image.scores.max() for image in found.values() if len(image.scores)]
        ap = {task: values["AP"] for task, values in metrics.items()}
        return explain(ap, wanted, Counter(classes), max(scores, default=0.0))


def distinct_names(names: Sequence[str], category_ids: Sequence[int | None]) -> tuple[str, ...]:
    """Returns names that can be keys: those that several categories share include their id."""
    counts = Counter(names)
    pairs = zip(names, category_ids, strict=True)
    return tuple(name if counts[name] == 1 else f"{name} (id {key})" for name, key in pairs)
