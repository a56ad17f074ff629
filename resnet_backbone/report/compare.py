"""Draws one metric of several runs in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.report.curves import Curves, read_curves
from resnet_backbone.utils.run_layout import METRICS
from resnet_backbone.utils.synonyms import metrics_for

SIZE = (7.2, 4.4)  # inches


def draw_runs(runs: Mapping[str, Path], metric: str, out: Path) -> None:
    """Draws a metric of each run over its steps.

    Args:
        runs: The folder of each run, by its label in the legend.
        metric: A name in metrics.jsonl: "bbox/AP", "classification/top1_error", "loss".
        out: The PNG file to write.

    Raises:
        ConfigError: a run has no such metric, and the message lists those it has; or `out` has a
            suffix that matplotlib does not know.
        StorageError: a run has no metrics file, or the figure cannot be written.
    """
    series = {name: _series(folder, metric) for name, folder in runs.items()}
    figure = Figure(SIZE, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (steps, values) in series.items():
        axes.plot(steps, values, marker="o" if len(steps) < 20 else "", markersize=4, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(metric)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(out)
    except ValueError as error:
        raise ConfigError(f"{out}: {error}") from error
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error


def _series(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    curves = _curves(folder)
    if metric not in curves:
        meant = metrics_for(metric, sorted(curves))
        known = ", ".join(sorted(curves)) or "nothing"
        hint = f"did you mean {' or '.join(meant)}?" if meant else f"found {known}"
        raise ConfigError(f"{folder / METRICS}: no metric {metric!r}; {hint}")
    return curves[metric]


def _curves(folder: Path) -> Curves:
    try:
        return read_curves(folder / METRICS)
    except OSError as error:
        raise StorageError(f"{folder / METRICS}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StorageError(f"{folder / METRICS}: cannot be read: {error}") from error
