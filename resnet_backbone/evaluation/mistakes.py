"""How much AP50 each kind of error costs a detector (TIDE: Bolya et al. 2020, section 2).

hotcoco 1.3 has this too, but treats crowd regions as objects, and reports no gain if all objects of
a class were missed. Here, correcting that leaves the class out of the mean, as in the authors'
code.
"""

from __future__ import annotations

import hotcoco
import numpy as np

from resnet_backbone.evaluation.compact import JoinedDetections
from resnet_backbone.evaluation.ground_truth import Truth
from resnet_backbone.evaluation.overlaps import ImageOverlaps, image_overlaps

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, RIGHT, IGNORED = range(7)
KINDS = ("classification", "localisation", "both", "duplicate", "background")
RIGHT_IOU, BACKGROUND_IOU = 0.5, 0.1


def break_down(truth: Truth, found: JoinedDetections, task: str) -> dict[str, dict[str, float]]:
    """Returns {kind: {"count": number of errors, "AP50": what AP50 gains if they are corrected}}.

    Each kind with its criterion, and its correction:

    * classification: IoU of 0.5 or more with an object of another class; gets that class.
    * localisation: IoU of 0.1 to 0.5 with an object of its class; gets the object's box or mask.
    * both: IoU of 0.1 to 0.5 with an object of another class; is removed.
    * duplicate: a detection with a higher score has found the object; is removed.
    * background: IoU below 0.1 with every object; is removed.
    * missed: an object without a detection of the first two kinds; is removed.

    If several corrected detections would find the same object, the one with the highest score is
    kept. The gains do not add up to 1 - AP50. A gain is NaN if no class with an object or a
    detection is left.

    Args:
        truth: The objects of the task, see `Truth.for_task`.
        found: The detections, with masks if `task` is "segm".
        task: "bbox" or "segm".
    """
    parts = zip(*map(_classify, image_overlaps(truth, found, task)), strict=True)
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
    # The recall grid can make a gain slightly negative; NaN remains NaN.
    table["missed"] = {"count": len(missed), "AP50": max(after - before, 0.0)}
    return table


def _classify(image: ImageOverlaps) -> tuple[np.ndarray, ...]:
    """Classifies the detections of an image.

    Returns:
        For each detection that is not ignored its class, score and kind, and the class with which
        it is right after correction (int64, -1 for none); then the classes of the missed objects.
    """
    classes, scores, iou, crowd = image.classes, image.scores, image.iou, image.crowd
    object_classes = image.object_classes
    own = classes[:, None] == object_classes
    match, ignored = _match(iou, own, crowd)
    same, other = (np.where(fits & ~crowd, iou, 0.0) for fits in (own, ~own))
    most_same, most_other = same.max(axis=1, initial=0.0), other.max(axis=1, initial=0.0)
    # The first test that is true decides, as in the authors' code.
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
    """COCO's matching: the index of each detection's object, or -1; whether it is in a crowd."""
    match, ignored = np.full(len(iou), -1), np.zeros(len(iou), dtype=bool)
    fits, free = own & (iou >= RIGHT_IOU), ~crowd
    for row in np.flatnonzero(fits.any(axis=1)):
        candidates = np.flatnonzero(fits[row] & free)[::-1]  # COCO takes the last of equals
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
    """Returns the mean of COCO's AP over the classes `judged`, int64[n].

    A class without objects and without detections is left out.

    Args:
        classes: int64[N], of the detections.
        scores: float64[N].
        right: bool[N].
        wanted: int64[K], number of objects of each class.
        judged: The classes to average over.
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
