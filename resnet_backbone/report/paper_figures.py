"""Draws the paper's figures in the paper's style from numbers (He et al. 2016, figures 1 to 7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PANEL = (5.6, 4.2)  # inches
THIN, BOLD = 0.9, 2.2
# The error axis ends at this multiple of the largest final error: the end of training matters most.
HEADROOM = 1.8

Series = tuple[Sequence[float], Sequence[float]]  # steps, fractions


@dataclass(frozen=True)
class ErrorCurve:
    """The errors of one network.

    Attributes:
        label: The network's name.
        depth: Number of layers; determines the colour.
        training: Steps, and training errors as fractions of the images.
        test: Steps, and test errors as fractions of the images.
    """

    label: str
    depth: int
    training: Series
    test: Series


@dataclass(frozen=True)
class LayerCurve:
    """A value for each layer of a network, in the order of the layers.

    Attributes:
        label: The network's name.
        depth: Number of layers; determines the colour.
        plain: Whether the network has no shortcuts.
        values: The value of each layer.
    """

    label: str
    depth: int
    plain: bool
    values: Sequence[float]


def error_figure(panels: Mapping[str, Sequence[ErrorCurve]]) -> Figure:
    """Returns figures 1, 4 and 6, with one panel for plain and one for residual networks.

    Training errors are thin and dashed, test errors bold. Networks of the same depth have the same
    colour in all panels, and all panels have the same axes.

    Args:
        panels: The curves of each panel by its title, from left to right.
    """
    shown = {title: curves for title, curves in panels.items() if curves}
    curves = [curve for group in shown.values() for curve in group]
    colors = _colors(curve.depth for curve in curves)
    figure = _figure(columns=max(1, len(shown)))
    for index, (title, group) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), index)
        for curve in group:
            _draw_errors(axes, curve, colors[curve.depth])
        _label(axes, title, "iterations (in 10\u2074)", "error (%)")
        axes.set_ylim(0, _top(curves))
        axes.legend(fontsize="small", title="bold: test, dashed: training", title_fontsize="small")
    return figure


def response_figure(curves: Sequence[LayerCurve]) -> Figure:
    """Returns figure 7: standard deviations in the order of the layers (top), and sorted (bottom).

    Plain networks are dotted, residual networks solid.
    """
    figure = _figure(rows=2, width=1.5)
    above, below = figure.add_subplot(2, 1, 1), figure.add_subplot(2, 1, 2)
    _draw_layers(above, curves)
    _label(above, "3x3 layers in their order", "layer", "standard deviation")
    _draw_layers(below, [_descending(curve) for curve in curves])
    _label(below, "sorted by their response", "layer", "standard deviation")
    return figure


def gradient_figure(curves: Sequence[LayerCurve]) -> Figure:
    """Returns the gradient norms by layer, on a logarithmic axis, with figure 7's line styles."""
    figure = _figure(width=1.5)
    axes = figure.add_subplot()
    _draw_layers(axes, curves)
    axes.set_yscale("log")
    _label(axes, "gradient of each convolution", "layer", "L2 norm")
    return figure


def complexity_figure(multiply_adds: Mapping[str, tuple[float, float]]) -> Figure:
    """Returns figure 3's comparison as a bar chart.

    Args:
        multiply_adds: {network: (our count, the paper's count)}, from top to bottom.
    """
    figure = _figure(width=1.3)
    axes = figure.add_subplot()
    names = list(multiply_adds)
    ours, papers = zip(*multiply_adds.values(), strict=True)
    bars = axes.barh(names, [count / 1e9 for count in ours], color="C0", label="counted")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.plot([count / 1e9 for count in papers], names, "k|", markersize=22)
    # A smaller marker for the legend, from which the bars' marker would protrude.
    small = Line2D([], [], color="k", marker="|", markersize=9, linestyle="", label="the paper")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _label(axes, "one image of 224x224", "multiply-adds (in 10\u2079)", "")
    axes.legend(handles=[bars, small], fontsize="small")
    return figure


def save(figure: Figure, out: Path) -> None:
    """Writes a figure to a PNG file."""
    FigureCanvasAgg(figure)
    figure.savefig(out, format="png")


def _figure(*, rows: int = 1, columns: int = 1, width: float = 1.0) -> Figure:
    size = (PANEL[0] * columns * width, PANEL[1] * rows)
    return Figure(size, dpi=110, layout="constrained")


def _draw_errors(axes: Axes, curve: ErrorCurve, color: str) -> None:
    styles = ((curve.training, "--", THIN, "_nolegend_"), (curve.test, "-", BOLD, curve.label))
    for (steps, errors), line, width, label in styles:
        x, y = [step / 1e4 for step in steps], [100 * error for error in errors]
        axes.plot(x, y, linestyle=line, linewidth=width, color=color, label=label)


def _draw_layers(axes: Axes, curves: Sequence[LayerCurve]) -> None:
    colors = _colors(curve.depth for curve in curves)
    for curve in curves:
        layers = range(1, len(curve.values) + 1)
        line, color = ":" if curve.plain else "-", colors[curve.depth]
        axes.plot(layers, curve.values, line, color=color, label=curve.label, linewidth=1.6)
    if curves:
        axes.legend(fontsize="small", ncols=2)


def _descending(curve: LayerCurve) -> LayerCurve:
    values = sorted(curve.values, reverse=True)
    return LayerCurve(curve.label, curve.depth, curve.plain, values)


def _colors(depths: Iterable[int]) -> dict[int, str]:
    return {depth: f"C{index % 10}" for index, depth in enumerate(sorted(set(depths)))}


def _top(curves: Sequence[ErrorCurve]) -> float:
    """Returns the upper end of the error axis in percent, a multiple of 5."""
    last = [errors[-1] for c in curves for _, errors in (c.training, c.test) if len(errors)]
    return min(100.0, 5 * math.ceil(HEADROOM * 100 * max(last, default=1.0) / 5) or 5)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
