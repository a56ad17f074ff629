"""Draws curves.png: the metrics of a training run over its steps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_backbone.utils.storage import read_regular

# {name: (steps, values)}
Curves = Mapping[str, tuple[list[int], list[float]]]

# Curves with at least this many points are noisy, so they get a running mean.
SMOOTH_FROM = 60
PANEL = (6.4, 4.2)  # inches
Dashes = str | tuple[float, tuple[float, ...]]
# By place in a panel. Where two lines coincide, the upper one leaves gaps for the lower one.
DASHES: tuple[Dashes, ...] = ("-", (0, (6, 3)), (0, (3, 3)), (3, (6, 3)), (0, (1, 2)), (0, (9, 3)))
TASKS = {"bbox": "boxes", "segm": "masks"}


def draw_curves(metrics_jsonl: Path, out: Path) -> None:
    """Draws losses, learning rate, AP and errors over steps; panels without data are omitted.

    Args:
        metrics_jsonl: JSON lines, each with "step" and numbers named "loss", "loss_*", "lr",
            "error", "val_loss" or "<task>/<metric>". If several lines have the same step, which a
            resumed run may write again, the last one counts. An incomplete last line, left by a
            killed run, is ignored.
        out: The PNG file to write.
    """
    curves = read_curves(metrics_jsonl)
    panels = [panel for panel in PANELS if panel[1](curves)]
    rows, columns = max(1, math.ceil(len(panels) / 2)), min(2, max(1, len(panels)))
    last = max([1, *(steps[-1] for steps, _ in curves.values())])
    figure = Figure((PANEL[0] * columns, PANEL[1] * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, select, label) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, title, select(curves), label)
        axes.set_xlim(0, 1.02 * last)
    if not panels:
        figure.text(0.5, 0.5, "nothing measured yet", ha="center", va="center")
    figure.savefig(out)


def read_curves(metrics_jsonl: Path) -> Curves:
    """Returns the finite numbers in the file, by name, in ascending order of step."""
    points: dict[str, dict[int, float]] = {}
    for line in read_regular(metrics_jsonl).decode("utf-8").splitlines():
        record = _parse(line)
        step = record.pop("step", None)
        if not isinstance(step, int):
            continue
        for name, value in record.items():
            if isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, {})[step] = value
    ordered = {name: sorted(series.items()) for name, series in points.items()}
    return {name: ([s for s, _ in pairs], [v for _, v in pairs]) for name, pairs in ordered.items()}


def _parse(line: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _training_losses(curves: Curves) -> Curves:
    own = {name: series for name, series in curves.items() if name.startswith("loss_")}
    return ({"loss": curves["loss"]} if "loss" in curves else {}) | own


def _validation_losses(curves: Curves) -> Curves:
    if "val_loss" not in curves:
        return {}
    training = {"training": curves["loss"]} if "loss" in curves else {}
    return training | {"validation": curves["val_loss"]}


def _learning_rate(curves: Curves) -> Curves:
    return {"lr": curves["lr"]} if "lr" in curves else {}


def _precision(curves: Curves) -> Curves:
    names = {
        f"{task}/{metric}": f"{metric} of {what}"
        for task, what in TASKS.items()
        for metric in ("AP", "AP50")
    }
    return {label: curves[name] for name, label in names.items() if name in curves}


def _errors(curves: Curves) -> Curves:
    names = {
        "error": "training",
        "classification/top1_error": "validation, top-1",
        "classification/top5_error": "validation, top-5",
    }
    return {label: curves[name] for name, label in names.items() if name in curves}


Selector = Callable[[Curves], Curves]
PANELS: Sequence[tuple[str, Selector, str]] = (
    ("Training losses", _training_losses, "loss"),
    ("Training and validation loss", _validation_losses, "loss"),
    ("Average precision on the validation images", _precision, "AP"),
    ("Classification error", _errors, "error"),
    ("Learning rate", _learning_rate, "learning rate"),
)


def _draw_panel(axes: Axes, title: str, curves: Curves, label: str) -> None:
    for index, (name, (steps, values)) in enumerate(curves.items()):
        _draw_curve(axes, name, steps, values, f"C{index}", DASHES[index % len(DASHES)])
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.set_ylim(*axis_limits(curves, at_most_1=label in ("AP", "error")))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize="small", framealpha=0.8)


def axis_limits(curves: Curves, *, at_most_1: bool) -> tuple[float, float]:
    """Returns the ends of the vertical axis: from 0 to a little above the highest value.

    Args:
        curves: What is drawn.
        at_most_1: Whether 1 is the highest value there can be.
    """
    highest = max(max(values) for _, values in curves.values())
    top = 1.1 * highest if highest > 0 else 1.0
    return 0.0, min(top, 1.02) if at_most_1 else top  # a dot at 1 is not cut in half


def _draw_curve(
    axes: Axes, name: str, steps: list[int], values: list[float], color: str, dashes: Dashes
) -> None:
    """Draws a line; with dots if there are few points, with a running mean if there are many."""
    smooth = len(values) >= SMOOTH_FROM and name != "lr"
    marker = "o" if len(values) < 20 else ""
    if smooth:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        values = running_mean(values, len(values) // 20)
    size = 7.0 if len(values) == 1 else 3.5
    axes.plot(
        steps, values, color=color, label=name, marker=marker, markersize=size, linestyle=dashes
    )


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Returns for each point the mean of the values at most `window` // 2 points away."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    reach = window // 2
    spans = [(max(0, at - reach), min(len(values), at + reach + 1)) for at in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in spans]
