"""COCO's average precision of boxes and masks, over any number of ranks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.average_precision import MAX_DETECTIONS, average_precision
from resnet_backbone.evaluation.compact import CompactDetections, compact, join
from resnet_backbone.evaluation.ground_truth import Truth, load_ground_truth, pack_truth
from resnet_backbone.evaluation.mistakes import break_down
from resnet_backbone.evaluation.zero_ap import explain
from resnet_backbone.structures import Detections
from resnet_backbone.utils import distributed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """What the main rank tells the others."""

    metrics: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None


class CocoEvaluator:
    """COCO's twelve numbers for boxes and masks, AP per class, and what kinds of errors cost.

    The numbers are in [0, 1]. Where COCO's code says -1, because there is no ground truth of that
    size or class, the value is NaN. Crowd regions follow COCO's rules: detections inside them are
    neither right nor wrong.

    Args:
        annotations: The JSON file, validated by the data package before.
        category_ids: COCO's id of each class.
        class_names: Name of each class.
        image_ids: The images to judge, over all ranks.
        tasks: "bbox", "segm" or both.
        leave_out: Ids of annotations that validation rejected, see `load_ground_truth`.
        max_detections: How many of the best detections of an image and class are counted, 100 or
            more. COCO's official numbers count 100.

    Raises:
        ValueError: `max_detections` is below 100.
    """

    per_class: dict[str, dict[str, float]]
    errors: dict[str, dict[str, dict[str, float]]]
    explanation: str | None

    def __init__(
        self,
        annotations: Path,
        *,
        category_ids: Sequence[int],
        class_names: Sequence[str],
        image_ids: Sequence[int],
        tasks: Sequence[str] = ("bbox", "segm"),
        leave_out: Collection[int] = (),
        max_detections: int = MAX_DETECTIONS,
    ) -> None:
        if max_detections < MAX_DETECTIONS:
            raise ValueError(
                f"max_detections is {max_detections}, expected {MAX_DETECTIONS} or more"
            )
        self.annotations = annotations
        self.category_ids = tuple(category_ids)
        self.class_names = _distinct(class_names, category_ids)
        self.image_ids = frozenset(image_ids)
        self.tasks = tuple(tasks)
        self.leave_out = frozenset(leave_out)
        self.max_detections = max_detections
        self._truth: Truth | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all detections."""
        self._found: dict[int, CompactDetections] = {}
        self.per_class = {}
        self.errors = {}
        self.explanation = None

    def process(self, detections: Sequence[Detections]) -> None:
        """Keeps detections, masks as run lengths; an image that comes again is ignored.

        Args:
            detections: With masks if the tasks include "segm"; on any device.

        Raises:
            DataError: a box or a score is not finite.
            ValueError: an image is not among those to judge, or see `compact`.
        """
        with_masks, class_count = "segm" in self.tasks, len(self.category_ids)
        for found in detections:
            if found.image_id not in self.image_ids:
                raise ValueError(f"image {found.image_id} is not among those to judge")
            if found.image_id not in self._found:
                self._found[found.image_id] = compact(
                    found, class_count=class_count, with_masks=with_masks
                )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {"bbox": {"AP": ..}, "segm": {..}}, named by `metric_names`, on every rank.

        The main rank computes for all. Sets `per_class`, `errors` and `explanation`.

        Raises:
            DataError: masks have another size than the annotation file says.
        """
        # An image can be with several ranks, where padding made their shares equal: first one wins.
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
        metrics, per_class, errors = {}, {}, {}
        for task in self.tasks:
            metrics[task], by_class = average_precision(truth, joined, task, self.max_detections)
            per_class[task] = dict(zip(self.class_names, by_class.tolist(), strict=True))
            errors[task] = break_down(truth, joined, task)
        return _Outcome(metrics, per_class, errors, self._explain(metrics, found, truth))

    def _load_truth(self) -> Truth:
        if self._truth is None:
            content = load_ground_truth(
                self.annotations,
                categories=dict(zip(self.category_ids, self.class_names, strict=True)),
                image_ids=self.image_ids,
                leave_out=self.leave_out,
            )
            self._truth = pack_truth(content, with_masks="segm" in self.tasks)
            self._warn_of_crowded_images(self._truth)
        return self._truth

    def _warn_of_crowded_images(self, truth: Truth) -> None:
        """Says where there are more objects than detections that count."""
        pairs = np.stack((truth.images, truth.classes))[:, ~truth.crowd]
        (images, _), counts = np.unique(pairs, axis=1, return_counts=True)
        crowded = counts > self.max_detections
        if crowded.any():
            logger.warning(
                "%d of %d images hold more than %d objects of a class, up to %d, but only the %d "
                "best detections of an image and class are counted: AP cannot reach 1. Raise "
                "evaluation.max_detections",
                len(np.unique(images[crowded])),
                len(self.image_ids),
                self.max_detections,
                counts.max(),
                self.max_detections,
            )

    def _numbered(
        self, found: Mapping[int, CompactDetections], truth: Truth
    ) -> dict[int, CompactDetections]:
        """By the image's number; catches what COCO's code would score as zero without a word."""
        absent = len(self.image_ids) - len(found)
        if absent:
            logger.warning(
                "%d of %d images were not evaluated; their objects count as missed",
                absent,
                len(self.image_ids),
            )
        numbers = {image_id: number for number, image_id in enumerate(truth.image_ids)}
        for image_id, image in found.items():
            size = truth.sizes[numbers[image_id]]
            if image.masks is not None and image.size != size:
                raise DataError(
                    f"{self.annotations}: image {image_id}: the file says {size[1]} x {size[0]}"
                    f" pixels, the image has {image.size[1]} x {image.size[0]}"
                )
        return {numbers[image_id]: image for image_id, image in found.items()}

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


def _distinct(names: Sequence[str], category_ids: Sequence[int]) -> tuple[str, ...]:
    """Class names that can be keys: those that several categories share get their id."""
    count = Counter(names)
    pairs: Iterable[tuple[str, int]] = zip(names, category_ids, strict=True)
    return tuple(name if count[name] == 1 else f"{name} (id {key})" for name, key in pairs)
