"""Figure 7 and section 4.1's gradient norms, from recorded runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from resnet_backbone.paper.cost import ASSUMPTIONS, training_hours
from resnet_backbone.paper.matching import Runs, find_pair, find_runs
from resnet_backbone.paper.published import CIFAR_SCHEDULE
from resnet_backbone.paper.published_figures import (
    FIGURE_7_CLAIMS,
    FIGURE_7_NETWORKS,
    PLAIN_CIFAR,
    RESIDUAL_CIFAR,
)
from resnet_backbone.paper.record_schema import Layer, Record
from resnet_backbone.paper.rows import NOTHING, ComparisonTable, Row, not_run


def _missing(network: str, label: str, paper: str) -> Row:
    hours = training_hours(network, CIFAR_SCHEDULE)
    return not_run(label, paper, hours, "no recorded run was measured (--measure --record RUN)")


def measured(records: Sequence[Record], network: str, what: str) -> Runs | None:
    """Returns the most comparable runs of a network that have layer measurements, or None.

    Args:
        records: All recorded runs.
        network: The network's name in this package.
        what: "layer_responses" or "gradient_norms".
    """
    found = find_runs(_with(records, what), network, CIFAR_SCHEDULE)
    return found[0] if found else None


def figure_7(records: Sequence[Record]) -> ComparisonTable:
    """Compares the mean response of each network, and their order, with the paper's figure."""
    rows = []
    for network in FIGURE_7_NETWORKS:
        found = measured(records, network, "layer_responses")
        if found is None:
            rows.append(_missing(network, f"{network}, mean std", "drawn"))
        else:
            mean = f"{mean_over_layers(found.records[0].layer_responses or ()):.3f}"
            label, origin = f"{network}, mean std", found.origin
            rows.append(Row(label, "drawn", mean, "-", origin, True, found.deviations))
    rows += [_claim(records, *claim) for claim in FIGURE_7_CLAIMS]
    title = "Figure 7: standard deviation of the 3x3 layers' responses, CIFAR-10"
    notes = ("mean over the layers of a network", *_assumed(rows))
    return ComparisonTable("figure7", title, tuple(rows), notes)


def _assumed(rows: Sequence[Row]) -> tuple[str, ...]:
    missing = any(row.ours == NOTHING for row in rows)
    return (ASSUMPTIONS["cifar10"],) if missing else ()


def _claim(records: Sequence[Record], smaller: str, larger: str) -> Row:
    label = f"{smaller} has smaller responses than {larger}"
    pair = find_pair(_with(records, "layer_responses"), (smaller, larger), CIFAR_SCHEDULE)
    if pair is None:
        return Row(label, "yes", NOTHING, "-", "needs both, run under the same conditions")
    low, high = (mean_over_layers(runs.records[0].layer_responses or ()) for runs in pair)
    how, holds = f"{low:.3f} against {high:.3f}", low < high
    return Row(label, "yes", "yes" if holds else "no", "-", how, True, pair[0].deviations)


def gradient_check(records: Sequence[Record]) -> ComparisonTable:
    """Returns the smallest and the largest gradient norm of each network."""
    rows = []
    for network in (*PLAIN_CIFAR, *RESIDUAL_CIFAR):
        found = measured(records, network, "gradient_norms")
        if found is None:
            rows.append(_missing(network, network, "healthy"))
            continue
        norms = [layer.value for layer in found.records[0].gradient_norms or ()]
        ours = f"{min(norms):.2g} to {max(norms):.2g}"
        rows.append(Row(network, "healthy", ours, "-", found.origin, True, found.deviations))
    title = "Section 4.1: L2 norms of the gradients over all convolutions, trained networks"
    note = "the paper gives no numbers: with batch normalisation the norms are healthy"
    return ComparisonTable("gradients", title, tuple(rows), (note, *_assumed(rows)))


def mean_over_layers(layers: Sequence[Layer]) -> float:
    """Returns the mean of the layers' values."""
    return statistics.fmean(layer.value for layer in layers)


def _with(records: Sequence[Record], what: str) -> list[Record]:
    return [record for record in records if getattr(record, what) is not None]
