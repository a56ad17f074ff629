"""Which runs stand beside the paper's numbers, and what is said of those that may not."""

import pytest
from finished_runs import record

from resnet_backbone.paper.matching import (
    dataset_of,
    deviations,
    find_pair,
    find_runs,
    find_together,
)
from resnet_backbone.paper.published import CIFAR_SCHEDULE, IMAGENET_SCHEDULE
from resnet_backbone.paper.record_schema import read_record

SHORT = {"max_iter": 6400}


@pytest.fixture
def make(tmp_path):
    def make(name, network="resnet20_cifar", **options):
        return read_record(record(tmp_path / name, tmp_path / "results", network, **options))

    return make


EMA = "solver.ema_decay 0.999"


def solver(**changes):
    full = {
        "schedule": "multistep",
        "max_iter": 64_000,
        "milestones": (32_000, 48_000),
        "batch_size": 128,
        "reference_batch_size": 128,
        "lr": 0.1,
        "weight_decay_norm": 1e-4,
    }
    return {"solver": full | changes}


def resident(**changes):
    base = {"format": "resident", "root": "/x/cifar10_jpeg", "crop": "pad", "hold_out": 0}
    return {"data": base | changes}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ()),
        (resident(), ()),
        (SHORT, ("shortened to 10 % of the schedule",)),
        ({"steps": 32_000}, ("shortened to 50 % of the schedule",)),
        (
            solver(max_iter=70_000),
            ("longer than the schedule", "different drops of the learning rate"),
        ),
        (
            solver(batch_size=256, lr=0.2, max_iter=32_000, milestones=(16_000, 24_000)),
            ("batch size 256 instead of 128", "learning rate 0.2 instead of 0.1"),
        ),
        (solver(milestones=(32_000,)), ("different drops of the learning rate",)),
        (solver(schedule="cosine"), ("different drops of the learning rate",)),
        (solver(ema_decay=0.999, weight_decay=5e-4), ("solver.weight_decay 0.0005", EMA)),
        ({"data": resident()["data"] | {"mixup": 0.2}}, ("data.mixup 0.2",)),
        ({"model": {"name": "resnet20_cifar", "weights": "/a/b.safetensors"}}, ("model.weights",)),
        (resident(hold_out=5000), ("tested on 5,000 held-out training images",)),
    ],
)
def test_deviations(make, options, expected):
    steps = options.get("solver", {}).get("max_iter", options.get("max_iter", 64_000))
    found = deviations(make("run", **({"steps": steps} | options)), CIFAR_SCHEDULE)
    assert found == expected


def test_a_plateau_may_end_a_run_early(make):
    data = {"root": "/data/imagenet", "pca_color": 0.1}
    model = {"name": "resnet50", "stride_in_1x1": True}
    plateau = solver(schedule="plateau", milestones=(), batch_size=256, max_iter=600_000)
    found = make("run", "resnet50", data=data, model=model, steps=410_000, **plateau)
    assert deviations(found, IMAGENET_SCHEDULE) == ()
    classic = solver(max_iter=450_000, milestones=(150_000, 300_000), batch_size=256)
    found = make("classic", "resnet50", data=data, model=model, steps=450_000, **classic)
    assert deviations(found, IMAGENET_SCHEDULE) == (
        "shortened to 75 % of the schedule",
        "different drops of the learning rate",
    )


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("cifar10_jpeg", "cifar10"),
        ("CIFAR-10", "cifar10"),
        ("cifar100", None),
        ("ILSVRC2012", "imagenet"),
        ("ImageNet-1k", "imagenet"),
        ("imagenet_mini", None),
    ],
)
def test_data_sets_by_the_name_of_their_folder(make, root, expected):
    assert dataset_of(make("run", **resident(root=f"/data/{root}"))) == expected


def test_seeds_are_taken_together_and_the_most_comparable_come_first(make):
    records = [
        make("short", top1=0.3, max_iter=6400),
        make("one", top1=0.08),
        make("two", top1=0.10, seed=1),
        make("other", "resnet32_cifar"),
        make("imagenet", data={"root": "imagenet"}),
    ]
    full, short = find_runs(records, "resnet20_cifar", CIFAR_SCHEDULE)
    assert full.error("top1_error") == pytest.approx(9.0)
    assert full.error("top1_error", "best of 5 runs") == pytest.approx(8.0)
    assert full.spread == pytest.approx(2**0.5)  # of 8 and 10, divided by one less
    assert full.images == 64_000 * 128 and full.deviations == ()
    assert "seeds 0, 1" in full.origin and "64,000 steps of 128; CPU" in full.origin
    assert short.deviations and short.spread is None
    assert find_runs(records, "resnet56_cifar", CIFAR_SCHEDULE) == []


def test_a_pair_is_of_the_same_conditions(make):
    pair = ("plain20_cifar", "plain56_cifar")
    records = [make("p20", pair[0]), make("p56", pair[1], max_iter=6400)]
    assert find_pair(records, pair, CIFAR_SCHEDULE) is None
    records.append(make("p20_short", pair[0], max_iter=6400))
    first, second = find_pair(records, pair, CIFAR_SCHEDULE)
    assert first.records == (records[2],) and second.records == (records[1],)


def test_a_figure_shows_as_many_networks_as_were_run_alike(make):
    networks = ("plain20_cifar", "plain56_cifar", "resnet20_cifar")
    assert find_together([], networks, CIFAR_SCHEDULE) == {}
    short = [make(f"short_{name}", name, max_iter=6400) for name in networks[:2]]
    full = make("full", "plain20_cifar")
    found = find_together([full, *short], networks, CIFAR_SCHEDULE)
    assert {name: runs.records for name, runs in found.items()} == {
        "plain20_cifar": (short[0],),
        "plain56_cifar": (short[1],),
    }
    # Of as many, the comparable ones.
    found = find_together([full, short[0]], networks, CIFAR_SCHEDULE)
    assert found["plain20_cifar"].records == (full,)
