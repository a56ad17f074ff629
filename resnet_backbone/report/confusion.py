"""Draws which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnet_backbone.report.names import save_figure, short, show_names

MOST_CLASSES = 20
CELL = 0.52  # inches


def draw_confusion(
    matrix: np.ndarray,
    names: Sequence[str],
    out: Path,
    *,
    title: str,
    row: str = "true class",
    column: str = "predicted class",
    rest: int = 1,
) -> None:
    """Draws a matrix of counts, coloured by their share of the row; of many classes the worst.

    Args:
        matrix: int64[K, K], the number of objects of each class (row) that were taken for which.
        names: The name of each of the K rows and columns.
        out: The PNG file to write.
        title: What was counted, and how.
        row: What rows are.
        column: What columns are.
        rest: So many of the last rows and columns are no classes and always shown.
    """
    classes = len(names) - rest
    chosen = most_confused(matrix[:classes, :classes])
    if len(chosen) < classes:
        title += f"\nthe {len(chosen)} most confused of {classes} classes"
    shown = [*chosen, *range(classes, len(names))]
    counts = matrix[np.ix_(shown, shown)]
    share = counts / np.maximum(1, matrix.sum(axis=1))[shown, None]
    side = max(4.0, CELL * len(shown))
    figure = Figure((side + 2.6, side + 2.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    labels = [short(names[index]) for index in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), labels)
    show_names([*axes.get_xticklabels(), *axes.get_yticklabels()])
    for (y, x), count in np.ndenumerate(counts):
        if count:
            color = "white" if share[y, x] > 0.6 else "black"
            axes.text(x, y, f"{count}", ha="center", va="center", color=color, fontsize=8)
    axes.set_ylabel(row)
    axes.set_xlabel(column)
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.8, label="part of the row")
    save_figure(figure, out)


def most_confused(matrix: np.ndarray) -> list[int]:
    """Returns the classes that were confused with others most often, at most `MOST_CLASSES`.

    They are in ascending order.

    Args:
        matrix: int64[K, K], counts.
    """
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    order = np.argsort(-wrong, kind="stable")[:MOST_CLASSES]
    return sorted(int(index) for index in order)
