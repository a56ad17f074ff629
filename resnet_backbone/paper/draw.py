"""Draws the paper's figures from recorded runs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from resnet_backbone.errors import StorageError
from resnet_backbone.paper.complexity import PAPER_MULTIPLY_ADDS
from resnet_backbone.paper.cost import total
from resnet_backbone.paper.layers import measured
from resnet_backbone.paper.matching import Runs, find_together
from resnet_backbone.paper.published_figures import (
    FIGURE_3_NETWORKS,
    FIGURE_7_NETWORKS,
    FIGURES,
    PLAIN_CIFAR,
    RESIDUAL_CIFAR,
    PublishedFigure,
)
from resnet_backbone.paper.record_schema import Record
from resnet_backbone.report import paper_figures
from resnet_backbone.report.paper_figures import ErrorCurve, LayerCurve
from resnet_backbone.utils import storage
from resnet_backbone.utils.own_files import OwnFiles

LETTERS_PER_INCH = 13  # of a heading; at matplotlib's "small" some 15 fit


def draw_figures(records: Sequence[Record], folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Draws every figure for which there are recorded runs, and figure 3, which is computed.

    All curves of a figure come from runs under the same conditions, with the lowest recorded seed.

    Args:
        records: All recorded runs.
        folder: The output folder, created if necessary; figures drawn there before are replaced,
            files of others are not.
        only: Keys of `EXHIBITS` to draw, of those that are figures; empty for all.

    Returns:
        The PNG files.

    Raises:
        StorageError: a file cannot be written, or others have a file of that name.
    """
    drawn = []
    own = OwnFiles(folder, "drawing")
    storage.make_folder(folder)
    try:
        for key, draw in _figures(records):
            if only and key not in only:
                continue
            own.claim([f"{key}.png"])
            drawn.append(folder / f"{key}.png")
            paper_figures.save(draw(), drawn[-1])
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error}") from error
    return drawn


def _figures(records: Sequence[Record]) -> Iterator[tuple[str, Callable[[], Figure]]]:
    yield "figure3", _complexity
    for figure in FIGURES:
        runs = find_together(records, figure.networks, figure.schedule)
        if runs:
            yield figure.key, partial(_errors, figure, dict(runs))
    responses = _measured(records, FIGURE_7_NETWORKS, "layer_responses")
    if responses:
        yield "figure7", partial(_responses, responses)
    gradients = _measured(records, (*PLAIN_CIFAR, *RESIDUAL_CIFAR), "gradient_norms")
    if gradients:
        yield "gradients", partial(_gradients, gradients)


def _complexity() -> Figure:
    counts = {
        label: (float(total(network).multiply_adds), PAPER_MULTIPLY_ADDS[network])
        for network, label in FIGURE_3_NETWORKS.items()
    }
    return paper_figures.complexity_figure(counts)


def _errors(figure: PublishedFigure, runs: dict[str, Runs]) -> Figure:
    curves = [(name, _curve(name, runs[name])) for name in figure.networks if name in runs]
    drawn = paper_figures.error_figure(
        {
            "plain networks": [curve for name, curve in curves if _is_plain(name)],
            "residual networks": [curve for name, curve in curves if not _is_plain(name)],
        }
    )
    return _under_conditions(drawn, runs.values())


def _responses(runs: Mapping[str, Runs]) -> Figure:
    drawn = paper_figures.response_figure(_layers(runs, "layer_responses"))
    return _under_conditions(drawn, runs.values())


def _gradients(runs: Mapping[str, Runs]) -> Figure:
    drawn = paper_figures.gradient_figure(_layers(runs, "gradient_norms"))
    return _under_conditions(drawn, runs.values())


def _under_conditions(figure: Figure, runs: Iterable[Runs]) -> Figure:
    """Writes the dataset, and the deviations from the paper, above a figure."""
    words = [(found.records[0].data.name, *found.deviations) for found in runs]
    heading = "; ".join(dict.fromkeys(chain.from_iterable(words)))
    columns = int(LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle(textwrap.fill(heading, columns), fontsize="small")
    return figure


def _curve(network: str, runs: Runs) -> ErrorCurve:
    record = min(runs.records, key=lambda record: record.seed)
    training, test = record.training_error, record.test_error
    return ErrorCurve(
        _label(network),
        _depth(network),
        (training.steps, training.values),
        (test.steps, test.values),
    )


def _measured(records: Sequence[Record], networks: Sequence[str], what: str) -> dict[str, Runs]:
    found = {network: measured(records, network, what) for network in networks}
    return {network: runs for network, runs in found.items() if runs is not None}


def _layers(runs: Mapping[str, Runs], what: str) -> list[LayerCurve]:
    curves = []
    for network, found in runs.items():
        values = [layer.value for layer in getattr(found.records[0], what)]
        curves.append(LayerCurve(_label(network), _depth(network), _is_plain(network), values))
    return curves


def _is_plain(network: str) -> bool:
    return network.startswith("plain")


def _depth(network: str) -> int:
    found = re.search(r"\d+", network)
    return int(found[0]) if found else 0


def _label(network: str) -> str:
    return f"{'plain' if _is_plain(network) else 'ResNet'}-{_depth(network)}"
