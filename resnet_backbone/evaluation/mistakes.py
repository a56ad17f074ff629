"""Which kind of mistake costs a detector how much AP50 (TIDE: Bolya et al. 2020, section 2).

hotcoco 1.3 has this too, but takes crowd regions for objects, and sees nothing to gain where all of
a class was missed. Forgiving that leaves the class out of the mean here, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator

import hotcoco
import numpy as np

from resnet_backbone.evaluation.compact import JoinedDetections
from resnet_backbone.evaluation.ground_truth import Truth

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, RIGHT, IGNORED = range(7)
KINDS = ("classification", "localisation", "both", "duplicate", "background")
RIGHT_IOU, BACKGROUND_IOU = 0.5, 0.1


def break_down(truth: Truth, found: JoinedDetections, task: str) -> dict[str, dict[str, float]]:
    """Returns {kind: {"count": mistakes, "AP50": what AP50 would gain by correcting them}}.

    * classification: overlaps an object of another class by half or more; gets that class.
    * localisation: overlaps an object of its class by a tenth to a half; gets its outline.
    * both: overlaps an object of another class by a tenth to a half; is taken away.
    * duplicate: a better detection has found the object; is taken away.
    * background: overlaps no object by a tenth; is taken away.
    * missed: an object without any detection of the first two kinds; need not be found.

    Where several corrected detections would find one object, the best stays. Gains do not add up
    to what AP50 lacks; NaN where no class with an object or a detection is left.

    Args:
        truth: What is to be found.
        found: With masks if `task` is "segm".
        task: "bbox" or "segm".
    """
    parts = zip(*_judge_images(truth, found, task), strict=True)
    classes, scores, kinds, repaired, missed = map(np.concatenate, parts)
    wanted = np.bincount(truth.classes[~truth.crowd], minlength=truth.class_count)
    judged = np.flatnonzero(wanted)
    right = kinds == RIGHT
    before = _mean_ap(classes, scores, right, wanted, judged)
    table = {}
    for kind, name in enumerate(KINDS):
        wrong = kinds == kind
        better = wrong & (repaired >= 0)
        rest = ~wrong | better
        corrected = np.where(better, repaired, classes)
        after = _mean_ap(corrected[rest], scores[rest], (right | better)[rest], wanted, judged)
        table[name] = {"count": int(wrong.sum()), "AP50": max(after - before, 0.0)}
    remaining = wanted - np.bincount(missed, minlength=truth.class_count)
    after = _mean_ap(classes, scores, right, remaining, judged)
    # The steps of the recall grid could make a correction look harmful by a hair; NaN stays.
    table["missed"] = {"count": len(missed), "AP50": max(after - before, 0.0)}
    return table


def _judge_images(
    truth: Truth, found: JoinedDetections, task: str
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields what `_judge` says of each image."""
    numbers = np.arange(len(truth.sizes) + 1)
    ours, theirs = np.searchsorted(found.images, numbers), np.searchsorted(truth.images, numbers)
    for number in numbers[:-1]:
        rows, objects = (slice(*ends[number : number + 2]) for ends in (ours, theirs))
        crowd = truth.crowd[objects]
        if task == "segm":
            iou = hotcoco.primitives.mask_iou(found.masks[rows], truth.masks[objects], crowd)
        else:
            iou = hotcoco.primitives.bbox_iou(found.boxes[rows], truth.boxes[objects], crowd)
        best_first = np.argsort(-found.scores[rows], kind="stable")
        classes, scores = found.classes[rows][best_first], found.scores[rows][best_first]
        yield _judge(classes, scores, truth.classes[objects], crowd, iou[best_first])


def _judge(
    classes: np.ndarray,
    scores: np.ndarray,
    object_classes: np.ndarray,
    crowd: np.ndarray,
    iou: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Returns classes, scores and kinds of the detections of an image that are right or wrong.

    Then, int64 per detection, the class in which correction would make it right, or -1; and the
    classes of the objects that were missed. Detections come with the best first.
    """
    own = classes[:, None] == object_classes
    match, ignored = _match(iou, own, crowd)
    same, other = (np.where(fits & ~crowd, iou, 0.0) for fits in (own, ~own))
    most_same, most_other = same.max(axis=1, initial=0.0), other.max(axis=1, initial=0.0)
    # The first that fits holds, as in the authors' code.
    tests = {
        IGNORED: ignored,
        RIGHT: match >= 0,
        LOCALISATION: (most_same >= BACKGROUND_IOU) & (most_same <= RIGHT_IOU),
        CLASSIFICATION: most_other >= RIGHT_IOU,
        DUPLICATE: most_same >= RIGHT_IOU,
        BACKGROUND: most_other <= BACKGROUND_IOU,
    }
    kinds = np.select(list(tests.values()), list(tests), default=BOTH)
    waiting = ~crowd
    waiting[match[match >= 0]] = False
    repaired = np.full(len(classes), -1)
    for row in np.flatnonzero((kinds == LOCALISATION) | (kinds == CLASSIFICATION)):
        target = (same if kinds[row] == LOCALISATION else other)[row].argmax()
        if waiting[target]:
            repaired[row], waiting[target] = object_classes[target], False
    about_detections = (array[~ignored] for array in (classes, scores, kinds, repaired))
    return *about_detections, object_classes[waiting]


def _match(iou: np.ndarray, own: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """COCO's matching: each detection's object or -1; and whether it lies in a crowd instead."""
    match, ignored = np.full(len(iou), -1), np.zeros(len(iou), dtype=bool)
    fits, free = own & (iou >= RIGHT_IOU), ~crowd
    for row in np.flatnonzero(fits.any(axis=1)):
        candidates = np.flatnonzero(fits[row] & free)[::-1]  # of equals COCO takes the last
        if len(candidates):
            match[row] = candidates[iou[row, candidates].argmax()]
            free[match[row]] = False
        else:
            ignored[row] = (fits[row] & crowd).any()
    return match, ignored


def _mean_ap(
    classes: np.ndarray,
    scores: np.ndarray,
    right: np.ndarray,
    wanted: np.ndarray,
    judged: np.ndarray,
) -> float:
    """Mean over `judged`, int64[n], of COCO's AP; `wanted`, int64[K], objects are to be found.

    A class without objects and detections is left out.
    """
    order = np.argsort(classes, kind="stable")
    ends = np.searchsorted(classes[order], np.arange(len(wanted) + 1))
    values = [
        hotcoco.metrics.average_precision(scores[rows], right[rows], int(wanted[k]))
        for k in judged
        for rows in (order[ends[k] : ends[k + 1]],)
        if wanted[k] or len(rows)
    ]
    return float(np.mean(values)) if values else float("nan")
