"""The paper's tables and figures, side by side with recorded runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from resnet_backbone.paper import cost, published, published_detection, published_figures
from resnet_backbone.paper.complexity import PAPER_MULTIPLY_ADDS, PAPER_PARAMETERS
from resnet_backbone.paper.layers import figure_7, gradient_check
from resnet_backbone.paper.matching import ErrorName, Runs, find_pair, find_runs
from resnet_backbone.paper.published import Published, PublishedTable
from resnet_backbone.paper.published_figures import PublishedFigure
from resnet_backbone.paper.record_schema import Record
from resnet_backbone.paper.rows import (
    COMPUTED,
    NOTHING,
    ComparisonTable,
    Row,
    not_run,
    percent,
    signed,
)

Records = Sequence[Record]

SHARED = "one training serves tables 2 to 4, which test the same networks in different ways"
SEEDS = "ours: the error of the last step, never of the best; the mean if there are several seeds"
NOT_HERE = "not among the networks of this package"
UNEQUAL = "no difference is given for runs that were trained or tested differently from the paper"


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of the paper.

    Attributes:
        key: "table1", "figure4" and so on.
        build: Creates it from all recorded runs.
    """

    key: str
    build: Callable[[Records], ComparisonTable]


def _table_1(_records: Records) -> ComparisonTable:
    names = {
        "resnet18": "ResNet-18",
        "resnet34": "ResNet-34",
        "resnet50": "ResNet-50",
        "resnet101": "ResNet-101",
        "resnet152": "ResNet-152",
    }
    rows = tuple(_multiply_adds(network, label) for network, label in names.items())
    note = "with the stride in the bottlenecks' first 1x1 convolution, as in the paper"
    return ComparisonTable(
        "table1", "Table 1: 10^9 multiply-adds of an image of 224x224", rows, (note,)
    )


def _figure_3(_records: Records) -> ComparisonTable:
    names = published_figures.FIGURE_3_NETWORKS
    rows = [_multiply_adds(network, label) for network, label in names.items()]
    ours = 100 * cost.total("plain34").multiply_adds / cost.total("vgg19").multiply_adds
    share = published_figures.PLAIN_34_OF_VGG_19
    rows.append(Row("plain-34, % of VGG-19", f"{share:g}", f"{ours:.1f}", signed(ours - share)))
    return ComparisonTable(
        "figure3", "Figure 3: 10^9 multiply-adds of an image of 224x224", tuple(rows)
    )


def _multiply_adds(network: str, label: str) -> Row:
    paper = PAPER_MULTIPLY_ADDS[network] / 1e9
    ours = cost.total(network, stride_in_1x1=_is_bottleneck(network)).multiply_adds / 1e9
    return Row(label, f"{paper:.1f}", f"{ours:.2f}", f"{ours - paper:+.2f}", COMPUTED)


def _is_bottleneck(network: str) -> bool:
    return network in ("resnet50", "resnet101", "resnet152")


def _errors(table: PublishedTable, records: Records) -> ComparisonTable:
    """Returns a table of errors; it requires `table.schedule`."""
    fitting = [record for record in records if record.tested(table.testing) is not None]
    rows = [_error(row, table, fitting) for row in table.rows]
    if table is published.TABLE_6:
        rows += [_parameters(network) for network in PAPER_PARAMETERS]
    notes = [SEEDS, UNEQUAL] if any(row.recorded for row in rows) else []
    if table.testing in ("ten_crop", "multi_scale"):
        notes.append(SHARED)
    if table is published.TABLE_5:
        notes.append("the paper names two of the six; assumed here: R34 B and C, R50, R101, 2 R152")
    if any(row.ours == NOTHING and "GPU" in row.how for row in rows) and table.schedule:
        notes.append(cost.ASSUMPTIONS[table.schedule.dataset])
    return ComparisonTable(
        table.key, f"{_name(table.key)}: {table.title}", tuple(rows), tuple(notes)
    )


def _error(row: Published, table: PublishedTable, records: Records) -> Row:
    label = f"{row.label}{_METRICS[row.metric]}"
    if row.statistic != "one run":
        label += f", {row.statistic}"
    paper = f"{row.value:.2f}" + ("" if row.spread is None else f" +- {row.spread:.2f}")
    if row.network is None or table.schedule is None:
        how = f"others' result{f' ({row.condition})' if row.condition else ''}, quoted by the paper"
        return Row(label, paper, "-", "-", how)
    for runs in find_runs(records, row.network, table.schedule):
        name: ErrorName = "top5_error" if row.metric == "top5_error" else "top1_error"
        ours = runs.error(name, row.statistic, table.testing)
        if ours is not None:
            return _compared(label, paper, ours - row.value, ours, runs, row)
    runs_needed = 1 if row.statistic == "one run" else 5
    hours = runs_needed * cost.training_hours(row.network, table.schedule)
    return not_run(label, paper, hours, row.condition)


_METRICS = {"top1_error": "", "top5_error": ", top-5", "AP50": ", AP50", "AP": ", AP", "mAP": ""}


def _compared(
    label: str, paper: str, difference: float, ours: float, runs: Runs, row: Published
) -> Row:
    spread = f" +- {runs.spread:.2f}" if row.spread is not None and runs.spread is not None else ""
    shown = "-" if runs.deviations else f"{difference:+.2f}"
    return Row(label, paper, f"{ours:.2f}{spread}", shown, runs.origin, True, runs.deviations)


def _parameters(network: str) -> Row:
    label = f"ResNet-{network.removeprefix('resnet').removesuffix('_cifar')}, 10^6 parameters"
    paper, ours = PAPER_PARAMETERS[network] / 1e6, cost.total(network).parameters / 1e6
    return Row(label, f"{paper:g}", f"{ours:.3f}", f"{ours - paper:+.3f}", COMPUTED)


def _curves(figure: PublishedFigure, records: Records) -> ComparisonTable:
    rows = [row for network in figure.networks for row in _ends(network, figure, records)]
    rows += [_claim(claim, figure, records) for claim in figure.claims]
    notes = ["training error: mean over the last twentieth of the steps, of augmented images"]
    if any(row.ours == NOTHING for row in rows):
        notes.append(cost.ASSUMPTIONS[figure.schedule.dataset])
    return ComparisonTable(
        figure.key, f"{_name(figure.key)}: {figure.title}", tuple(rows), tuple(notes)
    )


def _ends(network: str, figure: PublishedFigure, records: Records) -> list[Row]:
    """Returns the final errors of a network; the paper's curves come without numbers."""
    found = find_runs(records, network, figure.schedule)
    if not found:
        return [not_run(network, "drawn", cost.training_hours(network, figure.schedule))]
    runs, rows = found[0], []
    for name in ("training_error", "test_error"):
        error = runs.error(name)
        label = f"{network}, {_LABELS[name]} %"
        rows.append(Row(label, "drawn", percent(error), "-", runs.origin, True, runs.deviations))
    return rows


_LABELS = {"training_error": "training error", "test_error": "test error"}


def _claim(claim: published_figures.Claim, figure: PublishedFigure, records: Records) -> Row:
    better, metric, worse = claim
    label = f"{better} below {worse}, {_LABELS[metric]}"
    pair = find_pair(records, (better, worse), figure.schedule)
    if pair is None:
        return Row(label, "yes", NOTHING, "-", "needs both, run under the same conditions")
    low, high = (runs.error(metric) for runs in pair)
    if low is None or high is None:
        return Row(label, "yes", NOTHING, "-", "not recorded in these runs")
    how, holds = f"{low:.2f} against {high:.2f} %", low < high
    return Row(label, "yes", "yes" if holds else "no", "-", how, True, pair[0].deviations)


def _detection(table: PublishedTable, _records: Records) -> ComparisonTable:
    key = {"table7": "voc", "table8": "coco"}[table.key]
    rows = [
        Row(f"{row.label}{_METRICS[row.metric]}", f"{row.value:.1f}", "-", "-", NOT_HERE)
        if row.network is None
        else not_run(
            f"{row.label}{_METRICS[row.metric]}",
            f"{row.value:.1f}",
            cost.detection_hours(table.key),
        )
        for row in table.rows
    ]
    return ComparisonTable(
        table.key, f"{_name(table.key)}: {table.title}", tuple(rows), (cost.ASSUMPTIONS[key],)
    )


def _name(key: str) -> str:
    kind = "table" if key.startswith("table") else "figure"
    return f"{kind.title()} {key.removeprefix(kind)}"


EXHIBITS: tuple[Exhibit, ...] = (
    Exhibit("figure1", partial(_curves, published_figures.FIGURE_1)),
    Exhibit("table1", _table_1),
    Exhibit("figure3", _figure_3),
    Exhibit("figure4", partial(_curves, published_figures.FIGURE_4)),
    *(Exhibit(table.key, partial(_errors, table)) for table in published.ERROR_TABLES),
    Exhibit("figure6", partial(_curves, published_figures.FIGURE_6)),
    Exhibit("figure7", figure_7),
    Exhibit("gradients", gradient_check),
    *(
        Exhibit(table.key, partial(_detection, table))
        for table in published_detection.DETECTION_TABLES
    ),
)


def reproduce(records: Records, only: Sequence[str] = ()) -> list[ComparisonTable]:
    """Returns the tables and figures, in the paper's order.

    Args:
        records: All recorded runs.
        only: Keys of `EXHIBITS` to return; empty for all.
    """
    return [exhibit.build(records) for exhibit in EXHIBITS if not only or exhibit.key in only]
