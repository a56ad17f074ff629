"""What tables say, of nothing, of comparable runs and of others."""

import pytest
from finished_runs import record

from resnet_backbone.paper import cost
from resnet_backbone.paper.complexity import Part
from resnet_backbone.paper.measure import Measured
from resnet_backbone.paper.record_schema import read_records
from resnet_backbone.paper.reproduce import EXHIBITS, reproduce


@pytest.fixture
def table(tmp_path):
    """Records runs, and returns the rows of a table by label."""
    results = tmp_path / "results"

    def table(key, *runs):
        for index, options in enumerate(runs):
            record(tmp_path / f"run{index}", results, **options)
        (section,) = reproduce(list(read_records(results).values()), [key])
        assert section.key == key
        return {row.label: row for row in section.rows}, " ".join(section.notes)

    return table


@pytest.fixture
def uncounted(monkeypatch):
    """Every network costs a billion multiply-adds: counting all of them takes many seconds."""
    monkeypatch.setattr(cost, "total", lambda network, **_options: Part("total", 1, 10**9, 1))


def test_everything_has_a_cost_where_nothing_was_run(uncounted):
    sections = reproduce([])
    assert [section.key for section in sections] == [exhibit.key for exhibit in EXHIBITS]
    for section in sections:
        missing = [row for row in section.rows if row.ours == "not run"]
        assert all("GPU-hours" in row.how or "needs both" in row.how for row in missing)
        assert all(row.difference == "-" for row in missing)
        assert bool(missing) == any("estimate" in note for note in section.notes)
        assert len({row.label for row in section.rows}) == len(section.rows), section.key


def test_complexities_are_computed(table):
    rows, _ = table("table1")
    assert (rows["ResNet-50"].paper, rows["ResNet-50"].ours) == ("3.8", "3.86")
    rows, _ = table("figure3")
    # 3.644 of 19.632, both torchvision's and fvcore's counts.
    assert rows["plain-34, % of VGG-19"].ours == "18.6"


def test_a_comparable_run_has_a_difference(table):
    rows, notes = table("table6", {"top1": 0.0912}, {"top1": 0.0888, "seed": 1})
    row = rows["ResNet-20"]
    assert (row.paper, row.ours, row.difference) == ("8.75", "9.00", "+0.25")
    assert row.how.startswith("cifar10_resnet20; cifar10; seeds 0, 1; 64,000 steps of 128; CPU; 20")
    assert "never of the best" in notes
    assert rows["ResNet-32"].how == "about 0.64 GPU-hours"
    assert rows["ResNet-110, mean of 5 runs"].how == "about 12 GPU-hours"


def test_a_shortened_run_has_none(table):
    rows, notes = table("table6", {"top1": 0.2, "max_iter": 4000})
    row = rows["ResNet-20"]
    assert (row.ours, row.difference) == ("20.00", "-")
    assert row.deviations == ("shortened to 6.25 % of the schedule",)
    assert row.how.startswith("cifar10_resnet20; ")
    assert "no difference" in notes


def test_several_seeds_have_a_best_and_a_spread(table):
    runs = [{"network": "resnet110_cifar", "top1": e, "seed": s} for s, e in enumerate(FIVE)]
    rows, _ = table("table6", *runs)
    best, mean = rows["ResNet-110, best of 5 runs"], rows["ResNet-110, mean of 5 runs"]
    assert (best.ours, best.difference) == ("6.40", "-0.03")
    assert (mean.ours, mean.difference) == ("6.60 +- 0.16", "-0.01")


FIVE = (0.064, 0.065, 0.066, 0.067, 0.068)


def test_ten_crops_and_one_are_not_the_same(table, uncounted):
    run = {"data": {"root": "imagenet", "pca_color": 0.1}, "network": "resnet34_a"} | IMAGENET
    rows, _ = table("table2", run | {"network": "plain34"}, run | {"tests": {"ten_crop": 0.25}})
    assert rows["plain-34"].ours == "not run"
    row = rows["ResNet-34"]
    assert (row.ours, row.difference) == ("25.00", "-0.03")
    rows, _ = table("table4")
    assert rows["ResNet-34 B"].ours == "not run"


IMAGENET = {
    "top1": 0.27,
    "solver": {
        "schedule": "plateau",
        "max_iter": 600_000,
        "milestones": (),
        "batch_size": 256,
        "lr": 0.1,
        "weight_decay_norm": 1e-4,
    },
}


def test_claims_of_curves(table):
    short = {"max_iter": 6400}
    rows, _ = table(
        "figure6",
        {"network": "plain20_cifar", "training": 0.10, "top1": 0.15} | short,
        {"network": "plain56_cifar", "training": 0.20, "top1": 0.22} | short,
        {"network": "resnet20_cifar", "training": 0.10, "top1": 0.13} | short,
        {"network": "resnet56_cifar", "training": 0.08, "top1": 0.14} | short,
    )
    claim = rows["plain20_cifar below plain56_cifar, training error"]
    assert (claim.paper, claim.ours) == ("yes", "yes")
    assert "against" in claim.how and "shortened to 10 %" in claim.deviations[0]
    assert rows["resnet56_cifar below resnet20_cifar, test error"].ours == "no"
    assert rows["resnet110_cifar below resnet56_cifar, test error"].ours == "not run"
    assert rows["plain20_cifar, test error %"].ours == "15.00"
    assert rows["resnet32_cifar"].ours == "not run"


def measured(response, gradient):
    return Measured([("conv1", response), ("a", response / 2)], [("conv1", gradient), ("a", 2.0)])


def test_responses_and_gradients(table):
    runs = [
        {"network": "plain20_cifar", "measured": measured(2.0, 0.5)},
        {"network": "resnet20_cifar", "measured": measured(1.0, 0.25)},
        {"network": "resnet56_cifar"},
    ]
    rows, _ = table("figure7", *runs)
    assert rows["plain20_cifar, mean std"].ours == "1.500"
    assert rows["resnet20_cifar has smaller responses than plain20_cifar"].ours == "yes"
    assert rows["resnet56_cifar has smaller responses than resnet20_cifar"].ours == "not run"
    rows, _ = table("gradients")
    assert rows["plain20_cifar"].ours == "0.5 to 2"
    assert "no recorded run was measured" in rows["resnet56_cifar"].how


def test_detectors_have_their_own_cost():
    table7, table8 = reproduce([], ["table8", "table7"])
    assert (table7.key, table8.key) == ("table7", "table8")
    assert {row.how for row in table8.rows if row.ours == "not run"} == {"about 440 GPU-hours"}
