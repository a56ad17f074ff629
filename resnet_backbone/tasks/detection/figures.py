"""Figures about one evaluation of a detector, each with its numbers beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_backbone.evaluation.confusion import IOU, SCORE, ObjectMatches
from resnet_backbone.evaluation.details import Details
from resnet_backbone.report.confusion import draw_confusion
from resnet_backbone.report.precision_recall import IOU_THRESHOLDS, draw_precision_recall
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import (
    CONFUSION,
    CONFUSION_DATA,
    PRECISION_RECALL,
    PRECISION_RECALL_DATA,
)
from resnet_backbone.utils.storage import write_json

BACKGROUND = "(background)"  # in brackets, since there may be a class of that name
FIGURES = (PRECISION_RECALL, PRECISION_RECALL_DATA, CONFUSION, CONFUSION_DATA)


def write_figures(details: Details, own: OwnFiles) -> None:
    """Writes precision over recall, and the confusion of classes, as PNG and as JSON.

    Raises:
        StorageError: a file cannot be written.
    """
    own.claim(FIGURES)
    names = details.class_names
    write_json(own.folder / PRECISION_RECALL_DATA, precision_table(details))
    draw_precision_recall(details.precision, names, own.folder / PRECISION_RECALL)
    if details.matches is None:
        return
    write_json(own.folder / CONFUSION_DATA, confusion_table(details.matches, names))
    draw_confusion(
        details.matches.matrix,
        [*names, BACKGROUND],
        own.folder / CONFUSION,
        title="Which class was taken for which\n"
        f"boxes with a score of at least {SCORE:.2f} and an IoU of at least {IOU:.2f}",
        row="true class (background: nothing is there)",
        column="predicted class (background: missed)",
    )


def precision_table(details: Details) -> dict[str, Any]:
    """Returns {"recall": [..], task: {IoU: {class: [precision at each recall]}}} as JSON values.

    Classes without objects are left out; precision is rounded to four decimals.
    """
    first = next(iter(details.precision.values()))
    content: dict[str, Any] = {"recall": np.linspace(0, 1, first.shape[2]).round(2).tolist()}
    for task, both in details.precision.items():
        content[task] = {
            iou: {
                name: curve.round(4).tolist()
                for name, curve in zip(details.class_names, curves, strict=True)
                if not np.isnan(curve).any()
            }
            for iou, curves in zip(IOU_THRESHOLDS, both, strict=True)
        }
    return content


def confusion_table(matches: ObjectMatches, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the matrix as JSON values, only the counts that are not 0: one row each."""
    names = [*class_names, BACKGROUND]
    matrix = matches.matrix
    rows = [
        {"true": names[true], "predicted": names[predicted], "count": int(matrix[true, predicted])}
        for true, predicted in np.argwhere(matrix).tolist()
    ]
    return {"score": SCORE, "iou": IOU, "background": BACKGROUND, "rows": rows}
