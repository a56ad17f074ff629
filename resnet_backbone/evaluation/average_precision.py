"""COCO's twelve metrics, computed by hotcoco: equal to pycocotools', but much faster."""

from __future__ import annotations

from typing import NamedTuple

import hotcoco
import numpy as np

from resnet_backbone.evaluation.compact import JoinedDetections
from resnet_backbone.evaluation.ground_truth import Truth

# Number of detections per image and class that count, those with the highest scores.
MAX_DETECTIONS = 100
# Indices into hotcoco's arrays. Objects are small below 32^2 pixels and large above 96^2
# (https://cocodataset.org/#detection-eval).
IOU_50, IOU_75 = 0, 5
ALL, SMALL, MEDIUM, LARGE = range(4)


def metric_names(max_detections: int = MAX_DETECTIONS) -> tuple[str, ...]:
    """Returns COCO's names in COCO's order; the ninth contains `max_detections`."""
    precisions = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    return (*precisions, "AR1", "AR10", f"AR{max_detections}", "ARs", "ARm", "ARl")


METRICS = metric_names()


class Scores(NamedTuple):
    """What COCO's code computes of one task.

    Attributes:
        metrics: The twelve numbers by name; NaN without ground truth.
        per_class: float64[K], AP of each class; NaN without ground truth.
        precision: float64[2, K, 101], precision at IoU 0.50 and 0.75, of all sizes, at the recalls
            0.00, 0.01, ... 1.00: the highest at that recall or a higher one, 0 where no recall is
            as high; NaN for a class without ground truth.
    """

    metrics: dict[str, float]
    per_class: np.ndarray
    precision: np.ndarray


def average_precision(
    truth: Truth, found: JoinedDetections, task: str, max_detections: int = MAX_DETECTIONS
) -> Scores:
    """Returns COCO's metrics, the AP of each class, and its precision over recall.

    Args:
        truth: The objects of the task, see `Truth.for_task`.
        found: The detections, with masks if `task` is "segm".
        task: "bbox" or "segm".
        max_detections: Number of detections per image and class that count, those with the highest
            scores; 100 gives COCO's official metrics.
    """
    reference = _reference(truth, task)
    evaluation = hotcoco.COCOeval(reference, _results(reference, found, task), task)
    evaluation.params.max_dets = [1, 10, max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = evaluation.eval or {}
    precision, recall = arrays["precision"], arrays["recall"]
    values = map(_mean_of_defined, _twelve(precision, recall))
    per_class = precision[:, :, :, ALL, -1].transpose(2, 0, 1)
    names = metric_names(max_detections)
    curves = precision[[IOU_50, IOU_75], :, :, ALL, -1].transpose(0, 2, 1)  # [2, K, R]
    return Scores(
        dict(zip(names, values, strict=True)),
        np.array([_mean_of_defined(of_class) for of_class in per_class]),
        np.where(curves < 0, np.nan, curves),
    )


def _reference(truth: Truth, task: str) -> hotcoco.COCO:
    # Indices instead of the file's ids, which may be too large for a float.
    return hotcoco.COCO.from_arrays(
        [
            {"id": number, "height": height, "width": width}
            for number, (height, width) in enumerate(truth.sizes)
        ],
        [{"id": number, "name": str(number)} for number in range(truth.class_count)],
        truth.images,
        truth.classes,
        truth.boxes,
        area=truth.areas,
        iscrowd=truth.crowd,
        segmentation=list(truth.outlines) if task == "segm" else None,
    )


def _results(reference: hotcoco.COCO, found: JoinedDetections, task: str) -> hotcoco.COCO:
    with_masks = task == "segm"
    # A mask's size class depends on its own area, as in COCO's code for results without boxes.
    boxes = np.zeros_like(found.boxes) if with_masks else found.boxes
    rows = np.column_stack((found.images, boxes, found.scores, found.classes))
    results = reference.load_res(rows, segmentation=list(found.masks) if with_masks else None)
    if found.masks and with_masks:
        areas = np.asarray(hotcoco.mask.area(found.masks), dtype=np.float64)
        results.update_anns(ids=np.arange(1, len(rows) + 1), area=areas)
    return results


def _twelve(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the parts of the arrays whose means are COCO's twelve metrics.

    Args:
        precision: float64[T, R, K, A, M], by IoU threshold, recall, class, size class, and maximum
            number of detections (1, 10 and the largest).
        recall: float64[T, K, A, M].
    """
    best = precision[..., -1]
    return (
        best[..., ALL],
        best[IOU_50, :, :, ALL],
        best[IOU_75, :, :, ALL],
        best[..., SMALL],
        best[..., MEDIUM],
        best[..., LARGE],
        recall[:, :, ALL, 0],
        recall[:, :, ALL, 1],
        recall[:, :, ALL, 2],
        recall[:, :, SMALL, 2],
        recall[:, :, MEDIUM, 2],
        recall[:, :, LARGE, 2],
    )


def _mean_of_defined(values: np.ndarray) -> float:
    """Returns NaN instead of COCO's -1, for which there is no ground truth."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
