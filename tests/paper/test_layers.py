"""Figure 7 and the look at gradients, of runs whose layers were measured."""

import statistics

import pytest
from finished_runs import record
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.paper import cost
from resnet_backbone.paper.complexity import Part
from resnet_backbone.paper.layers import figure_7, gradient_check, mean_over_layers, measured
from resnet_backbone.paper.measure import Measured
from resnet_backbone.paper.published_figures import (
    FIGURE_7_CLAIMS,
    FIGURE_7_NETWORKS,
    PLAIN_CIFAR,
    RESIDUAL_CIFAR,
)
from resnet_backbone.paper.record_schema import Layer, read_record
from resnet_backbone.paper.rows import NOTHING


@pytest.fixture(autouse=True)
def _uncounted(monkeypatch):
    """Every network costs a billion multiply-adds: counting all of them takes seconds."""
    monkeypatch.setattr(cost, "total", lambda network, **_options: Part("total", 1, 10**9, 1))


@pytest.fixture
def make(tmp_path):
    """Records a run of a network whose layers respond and whose gradients are as given."""

    def make(name, network, responses=None, gradients=(0.5, 2.0), **options):
        found = None
        if responses is not None:
            names = [f"conv{number}" for number in range(len(responses))]
            found = Measured(
                list(zip(names, responses, strict=True)),
                [(f"conv{number}", norm) for number, norm in enumerate(gradients)],
            )
        return read_record(
            record(tmp_path / name, tmp_path / "results", network, measured=found, **options)
        )

    return make


def rows_of(table):
    return {row.label: row for row in table.rows}


def claim(smaller, larger):
    return f"{smaller} has smaller responses than {larger}"


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_the_mean_is_over_the_layers(values):
    layers = [Layer(name=f"conv{number}", value=value) for number, value in enumerate(values)]
    assert mean_over_layers(layers) == pytest.approx(statistics.mean(values))


def test_without_runs_every_network_has_its_cost_and_every_claim_what_it_needs():
    table = figure_7([])
    rows = rows_of(table)
    assert list(rows) == [
        *(f"{network}, mean std" for network in FIGURE_7_NETWORKS),
        *(claim(*each) for each in FIGURE_7_CLAIMS),
    ]
    for row in table.rows:
        assert (row.ours, row.difference, row.recorded) == (NOTHING, "-", False)
    measured_too = "no recorded run was measured (--measure --record RUN)"
    assert rows["plain20_cifar, mean std"].how.endswith(f"GPU-hours; {measured_too}")
    assert rows[claim(*FIGURE_7_CLAIMS[0])].how == "needs both, run under the same conditions"
    assert any("estimate" in note for note in table.notes)
    check = gradient_check([])
    assert [row.label for row in check.rows] == [*PLAIN_CIFAR, *RESIDUAL_CIFAR]
    assert all(row.ours == NOTHING and row.paper == "healthy" for row in check.rows)


def test_means_and_claims_of_measured_runs(make):
    records = [
        make("p20", "plain20_cifar", (2.0, 1.0)),
        make("r20", "resnet20_cifar", (1.0, 0.5, 0.75)),
        make("r56", "resnet56_cifar", (0.9, 0.8)),
    ]
    rows = rows_of(figure_7(records))
    assert rows["plain20_cifar, mean std"].ours == "1.500"
    assert rows["resnet20_cifar, mean std"].ours == "0.750"
    assert (
        rows["resnet20_cifar, mean std"].how
        == measured(records, "resnet20_cifar", "layer_responses").origin
    )
    held = rows[claim("resnet20_cifar", "plain20_cifar")]
    assert (held.paper, held.ours, held.how) == ("yes", "yes", "0.750 against 1.500")
    failed = rows[claim("resnet56_cifar", "resnet20_cifar")]
    assert (failed.ours, failed.how) == ("no", "0.850 against 0.750")
    assert rows[claim("resnet110_cifar", "resnet56_cifar")].ours == NOTHING
    assert held.recorded and failed.recorded


def test_gradients_are_shown_from_the_smallest_to_the_largest(make):
    records = [make("r20", "resnet20_cifar", (1.0,), gradients=(0.25, 123.4, 0.0321))]
    rows = rows_of(gradient_check(records))
    assert rows["resnet20_cifar"].ours == "0.032 to 1.2e+02"
    assert rows["resnet20_cifar"].recorded and not rows["resnet32_cifar"].recorded


def test_where_everything_was_measured_no_cost_is_told(make):
    names = dict.fromkeys((*PLAIN_CIFAR, *RESIDUAL_CIFAR))
    records = [make(name, name, (1.0,)) for name in names]
    for table in (figure_7(records), gradient_check(records)):
        assert not any("estimate" in note for note in table.notes)
        assert all(row.recorded for row in table.rows)


def test_the_measured_run_counts_even_where_another_is_more_comparable(make):
    full = make("full", "resnet20_cifar")
    short = make("short", "resnet20_cifar", (1.0,), max_iter=6400)
    assert measured([full, short], "resnet20_cifar", "layer_responses").records == (short,)
    assert measured([full], "resnet20_cifar", "gradient_norms") is None
    row = rows_of(figure_7([full, short]))["resnet20_cifar, mean std"]
    assert row.deviations == ("shortened to 10 % of the schedule",)
    assert row.how.startswith("cifar10_resnet20; ")


def test_of_measured_runs_the_most_comparable_counts(make):
    short = make("short", "resnet20_cifar", (1.0,), max_iter=6400)
    full = make("full", "resnet20_cifar", (2.0,))
    assert measured([short, full], "resnet20_cifar", "layer_responses").records == (full,)


def test_runs_under_other_conditions_are_not_compared(make):
    records = [
        make("p20", "plain20_cifar", (2.0,)),
        make("r20", "resnet20_cifar", (1.0,), max_iter=6400),
    ]
    row = rows_of(figure_7(records))[claim("resnet20_cifar", "plain20_cifar")]
    assert row.ours == NOTHING
