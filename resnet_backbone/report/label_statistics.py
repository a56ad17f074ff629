"""Draws what there is to learn from: classes, sizes, shapes and places of the training boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from resnet_backbone.report.names import save_figure, short, show_names

MOST_CLASSES = 30
BINS = 40
PANEL = (6.4, 4.8)  # inches


@dataclass(frozen=True)
class LabelStatistics:
    """The boxes of a training set.

    Attributes:
        class_names: The name of each of K classes.
        counts: int64[K], boxes of each class.
        sizes: float64[N], square root of the area of each box, in pixels of the network's input.
        ratios: float64[N], height / width.
        centres: float64[N, 2], (x, y) as parts of the image's width and height.
        anchor_sizes: Sizes of the anchors, in the same pixels.
        anchor_ratios: Height / width of the anchors.
    """

    class_names: Sequence[str]
    counts: np.ndarray
    sizes: np.ndarray
    ratios: np.ndarray
    centres: np.ndarray
    anchor_sizes: Sequence[float]
    anchor_ratios: Sequence[float]


def draw_label_statistics(labels: LabelStatistics, out: Path) -> None:
    """Draws four panels: boxes per class, their sizes and shapes beside the anchors', and places.

    Args:
        labels: The boxes.
        out: The PNG file to write.
    """
    figure = Figure((2 * PANEL[0], 2 * PANEL[1]), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    classes, sizes, ratios, places = (figure.add_subplot(2, 2, place) for place in range(1, 5))
    _draw_classes(classes, labels)
    sizes.set_title("Sizes of the boxes, and of the anchors")
    sizes.set_xlabel("square root of the area, in pixels of the network's input")
    _draw_histogram(sizes, labels.sizes, labels.anchor_sizes)
    ratios.set_title("Shapes of the boxes, and of the anchors")
    ratios.set_xlabel("height / width")
    _draw_histogram(ratios, labels.ratios, labels.anchor_ratios)
    _draw_places(figure, places, labels.centres)
    save_figure(figure, out)


def shown_bars(counts: np.ndarray) -> list[int]:
    """Returns the classes to draw, commonest first: all, or the commonest and the rarest half.

    Args:
        counts: int64[K].
    """
    order = [int(index) for index in np.argsort(-counts, kind="stable")]
    half = MOST_CLASSES // 2
    return order if len(order) <= MOST_CLASSES else order[:half] + order[-half:]


def _draw_classes(axes: Axes, labels: LabelStatistics) -> None:
    shown, total = shown_bars(labels.counts), len(labels.class_names)
    values = labels.counts[shown]
    title = f"{int(labels.counts.sum()):,} boxes by class"
    if len(shown) < total:
        half = MOST_CLASSES // 2
        title += f": the {half} commonest and {half} rarest of {total}"
        axes.axhline(half - 0.5, color="gray", linestyle="--", linewidth=1)
    axes.set_title(title)
    axes.barh(range(len(shown)), values)
    font = 9 if len(shown) <= 15 else 7
    names = [short(labels.class_names[index]) for index in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=font)
    show_names(axes.get_yticklabels())
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:,}", va="center", fontsize=font)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("boxes")


def _draw_histogram(axes: Axes, values: np.ndarray, anchors: Sequence[float]) -> None:
    """Draws a histogram on a logarithmic axis, with a line for each anchor."""
    positive = values[values > 0]
    ends = np.concatenate((positive, np.asarray(anchors, dtype=float)))
    if not len(ends):
        return
    bins = np.geomspace(ends.min() / 1.1, ends.max() * 1.1, BINS + 1)
    axes.hist(positive, bins=bins.tolist(), color="C0", alpha=0.8)
    for number, anchor in enumerate(sorted(set(anchors))):
        label = "anchors" if number == 0 else None
        axes.axvline(anchor, color="C1", linestyle="--", linewidth=1.2, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    if anchors:
        axes.set_xticks(sorted(set(anchors)))
        axes.minorticks_off()
        axes.legend(fontsize="small")
    axes.set_ylabel("boxes")


def _draw_places(figure: Figure, axes: Axes, centres: np.ndarray) -> None:
    heat, _, _ = np.histogram2d(
        centres[:, 1], centres[:, 0], bins=BINS // 2, range=((0, 1), (0, 1))
    )
    image = axes.imshow(heat, extent=(0, 1, 1, 0), cmap="viridis", vmin=0)
    axes.set_title("Centres of the boxes")
    axes.set_xlabel("x / width")
    axes.set_ylabel("y / height")
    figure.colorbar(image, ax=axes, label="boxes")
