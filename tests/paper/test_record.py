"""Records of runs, and what is refused when they are written and read."""

import json

import numpy as np
import pytest
from finished_runs import write_evaluation, write_json, write_run

from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.paper.measure import Measured
from resnet_backbone.paper.record import MAX_POINTS, record_run, thinned, without_machine
from resnet_backbone.paper.record_schema import read_record


def test_a_run_is_recorded(tmp_path):
    folder = write_run(tmp_path / "runs" / "r20_seed3", seed=3, lines=1000, data=RESIDENT)
    file = record_run(folder, tmp_path / "results")
    assert file == tmp_path / "results" / "r20_seed3.json"
    found = read_record(file)
    assert (found.experiment, found.network, found.seed) == (
        "cifar10_resnet20",
        "resnet20_cifar",
        3,
    )
    assert found.data.name == "cifar10_jpeg" and found.data.train == ("a.zip", "b.zip")
    assert found.data.hold_out == 5000 and found.more_tests == {}
    assert found.training.model_dump() == {
        "kind": "multistep",
        "max_iter": 64_000,
        "milestones": (32_000, 48_000),
        "lr": 0.1,
        "batch_size": 128,
        "extras": (),
        "steps": 64_000,
    }
    assert (found.test.top1_error, found.test.top5_error) == (0.09, 0.009)
    assert found.best.step == 64_000
    assert (found.machine.device, found.machine.gpu, found.machine.torch) == ("cpu", None, "2.15.0")
    assert found.layer_responses is None and found.gradient_norms is None
    # Fifty lines, whose errors fall evenly: their mean is that of the first and the last.
    errors = [0.9 + (0.02 - 0.9) * line / 1000 for line in range(951, 1001)]
    assert found.final_training_error == pytest.approx(np.mean(errors))
    assert len(found.training_error.steps) <= MAX_POINTS
    assert found.training_error.steps[-1] == found.test_error.steps[-1] == 64_000
    assert len(found.test_error.steps) == 250


RESIDENT = {
    "format": "resident",
    "root": "/mnt/disk/cifar10_jpeg",
    "crop": "pad",
    "train": ["a.zip", "b.zip"],
    "val": ["test.zip"],
    "hold_out": 5000,
}


def test_nothing_of_the_machine_is_in_it(tmp_path):
    text = record_run(write_run(tmp_path / "run", data=RESIDENT), tmp_path / "out").read_text()
    assert "/mnt" not in text and "/home" not in text and str(tmp_path) not in text
    assert json.loads(text)["command"] == "pretrain.py data.root=cifar"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tools/pretrain.py", "a.b=1"], "tools/pretrain.py a.b=1"),
        (["/opt/x y/tools/pretrain.py"], "pretrain.py"),
        (["data.train=[/a/b/one.zip, /c/two.zip]"], '"data.train=[one.zip, two.zip]"'),
        (["output=~/runs/one", "C:\\work\\two"], "output=one two"),
        (["output=runs/one/"], "output=runs/one/"),
        (["data.root=/"], "data.root="),
    ],
)
def test_absolute_paths_end_up_as_their_last_part(arguments, expected):
    assert without_machine(arguments) == expected


def test_what_was_measured_is_recorded_too(tmp_path):
    measured = Measured([("conv1", 0.5), ("layer1.0.conv1", 0.25)], [("conv1", 1.5)])
    found = read_record(record_run(write_run(tmp_path / "run"), tmp_path, measured))
    assert [(layer.name, layer.value) for layer in found.layer_responses] == measured.responses
    assert [(layer.name, layer.value) for layer in found.gradient_norms] == measured.gradients


def test_other_ways_of_testing_the_same_weights(tmp_path):
    folder = write_run(tmp_path / "run")
    write_evaluation(folder / "evaluation", "ten_crop", ["output/run/model.safetensors"], 0.08)
    write_evaluation(folder / "scales", "multi_scale", ["run/model.safetensors"], 0.07)
    # Neither ensembles nor other runs' weights, and one crop is what the run itself says.
    two = ["output/run/model.safetensors", "output/other/model.safetensors"]
    write_evaluation(folder / "together", "ten_crop", two, 0.05)
    write_evaluation(folder / "wrong", "multi_scale", two[1:], 0.04)
    write_evaluation(folder / "single", "single", two[:1], 0.03)
    found = read_record(record_run(folder, tmp_path / "results"))
    assert set(found.more_tests) == {"ten_crop", "multi_scale"}
    assert found.tested("ten_crop").top1_error == 0.08
    assert found.tested("multi_scale").top1_error == 0.07
    assert found.tested("single") == found.test and found.test.top1_error == 0.09
    assert found.tested("ensemble") is None
    (folder / "single" / "results.json").write_text("[]")
    with pytest.raises(StorageError, match=r"single/results\.json"):
        record_run(folder, tmp_path / "results")


@pytest.mark.parametrize("count", [0, 1, 299, 300, 301, 600, 1501])
def test_thinning_keeps_the_end_and_the_mean(count):
    steps, values = list(range(1, count + 1)), np.linspace(0.9, 0.1, count).tolist()
    means, last = thinned(steps, values, average=True), thinned(steps, values, average=False)
    assert len(means.steps) == len(last.steps) <= MAX_POINTS
    if count:
        assert means.steps[-1] == last.steps[-1] == count
        assert last.values[-1] == values[-1]
        group = -(-count // MAX_POINTS)
        assert means.values[-1] == pytest.approx(np.mean(values[-group:]))
        assert last.values == tuple(values[step - 1] for step in last.steps)


def test_the_same_run_replaces_its_record_and_another_does_not(tmp_path):
    folder = write_run(tmp_path / "run", top1=0.3)
    record_run(folder, tmp_path / "results")
    record_run(folder, tmp_path / "results")
    other = write_run(tmp_path / "elsewhere" / "run", top1=0.2, seed=1)
    with pytest.raises(StorageError, match=r"run\.json: records another run; rename the folder"):
        record_run(other, tmp_path / "results")
    assert read_record(tmp_path / "results" / "run.json").test.top1_error == 0.3


@pytest.mark.parametrize(
    "name", ["config.yaml", "results.json", "environment.json", "metrics.jsonl"]
)
def test_a_file_of_the_run_is_missing(tmp_path, name):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"{name}(: cannot be read|$)"):
        record_run(folder, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_file_of_the_run_is_damaged(tmp_path):
    folder = write_run(tmp_path / "run")
    write_json(folder / "results.json", {"metrics": {"classification": {"top1_error": 91}}})
    with pytest.raises(StorageError, match=r"results\.json: metrics\.classification\.top1_error"):
        record_run(folder, tmp_path)
    (folder / "config.yaml").write_text("task: classification\nname: x\n")
    with pytest.raises(StorageError, match=r"config\.yaml: seed: Field required"):
        record_run(folder, tmp_path)
    (folder / "config.yaml").write_text("name: coco\nmodel: {}\n")
    with pytest.raises(
        ConfigError, match=r"config\.yaml: task is detection; only runs of task classif"
    ):
        record_run(folder, tmp_path)


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StorageError, match="results: cannot be written: Not a directory"):
        record_run(write_run(tmp_path / "run"), tmp_path / "results")
