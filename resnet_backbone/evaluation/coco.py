"""COCO's average precision of boxes and masks, over any number of ranks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as mask_api
from torch import Tensor

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.ground_truth import Record, load_ground_truth
from resnet_backbone.evaluation.zero_ap import explain
from resnet_backbone.structures import Detections
from resnet_backbone.utils import distributed

# COCO's order; size bounds are 32 and 96 pixels squared (https://cocodataset.org/#detection-eval).
METRICS = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR100",
    "ARs",
    "ARm",
    "ARl",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """The detections of one image, small enough to keep and to send to other ranks.

    Attributes:
        size: (height, width).
        boxes: float64[N, 4], COCO's (x, y, width, height).
        scores: float64[N].
        classes: int64[N].
        masks: N compressed run-length encodings, or None.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: list[bytes] | None


@dataclass(frozen=True)
class _Outcome:
    """What the main rank tells the others."""

    metrics: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    explanation: str | None


class CocoEvaluator:
    """COCO's twelve numbers for boxes and masks, and AP per class.

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
    """

    per_class: dict[str, dict[str, float]]
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
    ) -> None:
        self.annotations = annotations
        self.category_ids = tuple(category_ids)
        self.class_names = _distinct(class_names, category_ids)
        self.image_ids = frozenset(image_ids)
        self.tasks = tuple(tasks)
        self.leave_out = frozenset(leave_out)
        self._truth: COCO | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all detections."""
        self._found: dict[int, _Found] = {}
        self.per_class = {}
        self.explanation = None

    def process(self, detections: Sequence[Detections]) -> None:
        """Keeps detections, masks as run lengths; an image that comes again is ignored.

        Args:
            detections: With masks if the tasks include "segm"; on any device.

        Raises:
            ValueError: an image is not among those to judge.
        """
        for found in detections:
            if found.image_id not in self.image_ids:
                raise ValueError(f"image {found.image_id} is not among those to judge")
            if found.image_id not in self._found:
                self._found[found.image_id] = _compact(found, with_masks="segm" in self.tasks)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Returns {"bbox": {"AP": ..}, "segm": {..}} with the names of `METRICS`, on every rank.

        The main rank computes for all. Sets `per_class` and `explanation`.

        Raises:
            DataError: masks have another size than the annotation file says.
        """
        # An image can be with several ranks, where padding made their shares equal: first one wins.
        found: dict[int, _Found] = {}
        for share in distributed.all_gather_object(self._found):
            found = share | found
        outcome = distributed.on_main(lambda: self._judge(found))
        self.per_class, self.explanation = outcome.per_class, outcome.explanation
        return outcome.metrics

    def _judge(self, found: dict[int, _Found]) -> _Outcome:
        truth = self._load_truth()
        self._check(found, truth)
        found = dict(sorted(found.items()))
        metrics, per_class = {}, {}
        for task in self.tasks:
            coco = _run(truth, _results(found, task, self.category_ids), task)
            metrics[task] = {
                name: _undefined_as_nan(value)
                for name, value in zip(METRICS, coco.stats, strict=True)
            }
            per_class[task] = self._class_table(coco)
        return _Outcome(metrics, per_class, self._explain(metrics, found, truth))

    def _load_truth(self) -> COCO:
        if self._truth is None:
            categories = dict(zip(self.category_ids, self.class_names, strict=True))
            self._truth = COCO(
                load_ground_truth(
                    self.annotations,
                    categories=categories,
                    image_ids=self.image_ids,
                    leave_out=self.leave_out,
                )
            )
        return self._truth

    def _check(self, found: dict[int, _Found], truth: COCO) -> None:
        """Catches what COCO's code would score as zero without a word."""
        absent = len(self.image_ids) - len(found)
        if absent:
            logger.warning(
                "%d of %d images were not evaluated; their objects count as missed",
                absent,
                len(self.image_ids),
            )
        for image_id, image in found.items():
            size = truth.imgs[image_id]["height"], truth.imgs[image_id]["width"]
            if image.masks is not None and image.size != size:
                raise DataError(
                    f"{self.annotations}: image {image_id}: the file says {size[1]} x {size[0]}"
                    f" pixels, the image has {image.size[1]} x {image.size[0]}"
                )

    def _class_table(self, coco: COCOeval_faster) -> dict[str, float]:
        """AP of each class: the mean over IoU thresholds and recalls, as for all classes."""
        precision = coco.eval["precision"][:, :, :, 0, -1]  # all sizes, 100 detections: [T, R, K]
        columns = {key: index for index, key in enumerate(coco.params.catIds)}
        return {
            name: _mean_of_defined(precision[:, :, columns[key]])
            for name, key in zip(self.class_names, self.category_ids, strict=True)
        }

    def _explain(
        self, metrics: dict[str, dict[str, float]], found: dict[int, _Found], truth: COCO
    ) -> str | None:
        names = dict(zip(self.category_ids, self.class_names, strict=True))
        wanted = Counter(
            names[instance["category_id"]]
            for instance in truth.dataset["annotations"]
            if not instance["iscrowd"]
        )
        classes = (self.class_names[index] for image in found.values() for index in image.classes)
        scores = [image.scores.max() for image in found.values() if len(image.scores)]
        ap = {task: values["AP"] for task, values in metrics.items()}
        return explain(ap, wanted, Counter(classes), max(scores, default=0.0))


def _compact(found: Detections, *, with_masks: bool) -> _Found:
    corners = found.boxes.double().cpu().numpy()
    boxes = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
    if with_masks and found.masks is None:
        raise ValueError(f"image {found.image_id}: masks are to be judged, but there are none")
    return _Found(
        size=found.size,
        boxes=boxes,
        scores=found.scores.double().cpu().numpy(),
        classes=found.classes.cpu().numpy(),
        masks=encode_masks(found.masks) if with_masks and found.masks is not None else None,
    )


def encode_masks(masks: Tensor) -> list[bytes]:
    """Returns the compressed run lengths of bool[N, H, W].

    COCO counts down columns, so masks are transposed first, on their own device, where that is
    cheap; the encoder then reads memory in order.
    """
    columns = masks.transpose(1, 2).contiguous().cpu().numpy().view(np.uint8)
    return [rle["counts"] for rle in mask_api.encode(columns.transpose(2, 1, 0))]


def _results(found: dict[int, _Found], task: str, category_ids: Sequence[int]) -> list[Record]:
    """Detections in COCO's result format, images in order of their id."""
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[image.classes[index]],
            "score": float(image.scores[index]),
            **_shape(image, index, task),
        }
        for image_id, image in found.items()
        for index in range(len(image.scores))
    ]


def _shape(image: _Found, index: int, task: str) -> dict[str, Any]:
    # Never both: with a box present, COCO's code would take a mask's size class from the box.
    if task == "bbox":
        return {"bbox": image.boxes[index].tolist()}
    if image.masks is None:
        raise ValueError("masks are to be judged, but there are none")
    return {"segmentation": {"size": list(image.size), "counts": image.masks[index]}}


def _run(truth: COCO, results: list[Record], task: str) -> COCOeval_faster:
    coco = COCOeval_faster(truth, truth.loadRes(results), task, print_function=_silent)
    coco.run()
    return coco


def _silent(*_: object) -> None:
    """Takes the place of COCO's printing; the report package formats the numbers."""


def _undefined_as_nan(value: float) -> float:
    return float("nan") if value == -1 else float(value)


def _mean_of_defined(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _distinct(names: Sequence[str], category_ids: Sequence[int]) -> tuple[str, ...]:
    """Class names that can be keys: those that several categories share get their id."""
    count = Counter(names)
    pairs: Iterable[tuple[str, int]] = zip(names, category_ids, strict=True)
    return tuple(name if count[name] == 1 else f"{name} (id {key})" for name, key in pairs)
