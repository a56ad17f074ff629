"""Runs from start to end: what they leave, and what may stop them."""

import json
import logging
import random
import signal
import time
from functools import partial

import pytest
import safetensors.torch
import torch
import toy

from resnet_backbone.config.load import load_config
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import (
    ConfigError,
    DataError,
    DivergedError,
    Interrupted,
    StorageError,
    WeightsError,
)

train_toy = partial(train_task, toy.ToyTask)

TIMES = ("time_data", "time_compute", "eta_s")


def metrics(output):
    """The lines of metrics without what depends on the clock."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def contents(output):
    return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}


def final_state(output):
    """All that training computed: weights, last checkpoint, best weights, metrics, results.

    What names the output folder is left out.
    """
    (last,) = sorted((output / "checkpoints").glob("step_*"))[-1:]
    (best,) = (output / "best").glob("step_*")
    record = json.loads((last / "state.json").read_text())
    del record["about"]["config"]
    return {
        "exported": tensors(output / "model.safetensors"),
        "last": last.name,
        "model": (last / "model.safetensors").read_bytes(),
        "optimizer": (last / "optimizer.safetensors").read_bytes(),
        "state": record,
        "best": best.name,
        "best model": tensors(best / "model.safetensors"),
        "metrics": metrics(output),
        "results": timeless(json.loads((output / "results.json").read_text())),
    }


def timeless(results):
    """The results but for when they were measured, and how fast."""
    times = ("date", "seconds", "images_per_second")
    return {name: value for name, value in results.items() if name not in times}


def tensors(file):
    loaded = safetensors.torch.load_file(file)
    return b"".join(name.encode() + loaded[name].numpy().tobytes() for name in sorted(loaded))


@pytest.fixture(scope="module")
def uninterrupted(server, tmp_path_factory):
    output = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert server.run(output, sections=AVERAGED) == 0, server.stderr
    return final_state(output)


# Averaged weights belong to the state, so most runs here keep them.
AVERAGED = {"solver": {"ema_decay": 0.9}}


def test_a_run_leaves_everything_that_was_promised(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    output = tmp_path / "run"
    with toy.toy_task(skipped=["image 7 cannot be read"]):
        assert train_toy(toy.config(output)) == output
    assert {path.name for path in output.iterdir()} >= {
        "best",
        "checkpoints",
        "config.yaml",
        "curves.png",
        "environment.json",
        "log.txt",
        "metrics.jsonl",
        "model.safetensors",
        "pictures",
        "results.json",
        "skipped_samples.json",
        "tensorboard",
    }
    assert caplog.messages[-1] == f"weights, results and pictures are in {output}"
    assert json.loads((output / "skipped_samples.json").read_text())["train"]
    assert "1 sample or annotation left out" in caplog.text
    assert (output / "log.txt").read_text().count("saved") == len({3, 4, 6, 8, 9, 12})
    with safetensors.safe_open(output / "model.safetensors", "pt") as file:
        card = file.metadata()
    assert json.loads(card["class_names"]) == ["circle", "square"]
    assert json.loads(card["category_ids"]) == [1, 5]
    assert json.loads(card["config"])["solver"]["batch_size"] == 4


def test_lines_of_metrics_have_the_promised_names(tmp_path):
    with toy.toy_task():
        train_toy(toy.config(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "lr" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8, 10, 12]
    names = {"step", "loss", "loss_cls", "loss_box_reg", "lr", *TIMES}
    assert all(set(line) == names for line in training)
    evaluations = [line for line in lines if "lr" not in line]
    assert [line["step"] for line in evaluations] == [4, 8, 12]
    assert {"bbox/AP", "val_loss", "val_loss_cls"} <= set(evaluations[0])


def test_the_same_run_twice_is_the_same(uninterrupted, server, tmp_path):
    assert server.run(tmp_path, sections=AVERAGED) == 0
    assert final_state(tmp_path) == uninterrupted


# A run of the toy does about this many calls that change what is on disk.
WRITES = 200


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_a_random_moment_and_resumed_it_is_the_same(
    uninterrupted, server, tmp_path, moment
):
    """SIGKILL by the clock, and at some write to the disk, half of which are inside saves."""
    rng = random.Random(moment)
    if moment % 2:
        slow = {"seconds_per_step": 0.03}  # over a third of a second in all
        delay = rng.uniform(0.05, 0.35)
        code = server.kill_after(delay, tmp_path, sections=AVERAGED, options=slow)
    else:
        code = server.run(tmp_path, sections=AVERAGED, die_at_write=rng.randint(1, WRITES))
    assert code == -signal.SIGKILL
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0, server.stderr
    assert final_state(tmp_path) == uninterrupted


def test_killed_again_and_again_it_is_the_same(uninterrupted, server, tmp_path):
    killed = 0
    for number in range(5, WRITES, 10):
        code = server.run(tmp_path, sections=AVERAGED, resume=True, die_at_write=number)
        assert code in (0, -signal.SIGKILL), server.stderr
        killed += code < 0
    assert killed >= 4
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0, server.stderr
    assert final_state(tmp_path) == uninterrupted


@pytest.mark.parametrize("forgotten", ["generators", "momentum", "average", "window"])
def test_without_any_part_of_the_state_it_would_not_be_the_same(
    uninterrupted, server, tmp_path, forgotten
):
    """The check of the checks above."""
    assert server.run(tmp_path, sections=AVERAGED, options={"signal_at": 5}) == 75
    options = {"forget": forgotten}
    assert server.run(tmp_path, sections=AVERAGED, resume=True, options=options) == 0
    assert final_state(tmp_path) != uninterrupted


@pytest.mark.parametrize(
    "number, step",
    [(signal.SIGTERM, 1), (signal.SIGINT, 4), (signal.SIGINT, 7), (signal.SIGTERM, 12)],
)
def test_a_signal_in_training_saves_the_step_under_way(
    uninterrupted, server, tmp_path, number, step
):
    options = {"signal_at": step, "signal": int(number)}
    assert server.run(tmp_path, sections=AVERAGED, options=options) == 75
    assert f"step {step} is saved in" in server.stderr
    assert "continue with the same command and --resume" in server.stderr
    assert "Traceback" not in server.stderr
    assert (tmp_path / "checkpoints" / f"step_{step:08d}").is_dir()
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0
    assert final_state(tmp_path) == uninterrupted


@pytest.mark.parametrize(
    "number, batch", [(signal.SIGTERM, 0), (signal.SIGINT, 3), (signal.SIGTERM, 5)]
)
def test_a_signal_in_an_evaluation_loses_nothing(uninterrupted, server, tmp_path, number, batch):
    options = {"signal_in_evaluation": batch, "signal": int(number)}
    code = server.run(tmp_path, sections=AVERAGED, options=options)
    # A signal in the last batch finds the evaluation done, and stops the step after it.
    assert code == 75
    assert f"step {5 if batch == 5 else 4} is saved in" in server.stderr
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0
    assert final_state(tmp_path) == uninterrupted


def test_a_bad_image_costs_no_step(uninterrupted, server, tmp_path):
    options = {"fail_at": 6, "how": "data"}  # no checkpoint is due after step 5
    assert server.run(tmp_path, sections=AVERAGED, options=options) == 3
    assert "image 7: cannot be read; step 5 is saved in" in server.stderr
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0
    assert final_state(tmp_path) == uninterrupted


def test_a_bad_image_in_the_first_step_leaves_no_checkpoint(server, tmp_path):
    assert server.run(tmp_path, options={"fail_at": 1, "how": "data"}) == 3
    assert "saved" not in server.stderr
    assert list((tmp_path / "checkpoints").glob("*")) == []


def test_resuming_says_what_it_restored(server, tmp_path):
    server.run(tmp_path, sections=AVERAGED, options={"signal_at": 5})
    server.run(tmp_path, sections=AVERAGED, resume=True)
    assert "resumed from" in server.stderr
    for word in (
        "step 5",
        "model",
        "optimizer",
        "averaged weights",
        "random generators",
        "bbox/AP",
    ):
        assert word in server.stderr
    assert "best bbox/AP 0." in server.stderr and "at step 4" in server.stderr


def test_resuming_before_the_first_evaluation_says_so(server, tmp_path):
    server.run(tmp_path, options={"signal_at": 2})
    server.run(tmp_path, resume=True)
    assert "step 2, model" in server.stderr and "no bbox/AP yet" in server.stderr


def test_resuming_a_finished_run_repeats_its_end(uninterrupted, server, tmp_path):
    for _ in range(2):
        assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0
    assert final_state(tmp_path) == uninterrupted


def test_a_run_can_be_made_longer_and_shorter(tmp_path):
    with toy.toy_task():
        train_toy(toy.config(tmp_path))
        train_toy(toy.config(tmp_path, solver={"max_iter": 14}), resume=True)
        assert metrics(tmp_path)[-1]["step"] == 14
        train_toy(toy.config(tmp_path, solver={"max_iter": 2}), resume=True)
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 14


def test_a_damaged_newest_checkpoint_costs_steps_but_not_the_result(
    uninterrupted, server, tmp_path
):
    server.run(tmp_path, sections=AVERAGED, options={"signal_at": 7})
    model = tmp_path / "checkpoints" / "step_00000007" / "optimizer.safetensors"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 4
    model.write_bytes(content)
    assert server.run(tmp_path, sections=AVERAGED, resume=True) == 0
    assert "step_00000007/optimizer.safetensors: damaged" in server.stderr
    assert "step_00000006: step 6" in server.stderr
    assert final_state(tmp_path) == uninterrupted


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with toy.toy_task(coupled=False, nan_at=6):
        with pytest.raises(DivergedError, match="loss of step 6 is not finite"):
            train_toy(toy.config(tmp_path))
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step_00000003", "step_00000004"]
    with toy.toy_task(coupled=False):  # the last good checkpoint is intact
        train_toy(toy.config(tmp_path), resume=True)


def test_a_diverged_run_ends_with_its_code_and_names_the_images(server, tmp_path):
    assert server.run(tmp_path, options={"nan_at": 6}) == 5
    assert "images 24, 25, 26, 27" in server.stderr
    assert "learning rate 0.05" in server.stderr
    assert "Traceback" not in server.stderr


def test_a_full_disk_ends_with_its_code_and_the_old_checkpoint(server, tmp_path):
    assert server.run(tmp_path, options={"signal_at": 2}) == 75
    assert server.run(tmp_path, resume=True, file_limit=8_000) == 4
    assert "step_00000003: cannot be written" in server.stderr
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000002"]
    assert server.run(tmp_path, resume=True) == 0


def test_a_second_start_needs_a_decision(tmp_path):
    with toy.toy_task():
        train_toy(toy.config(tmp_path))
        with pytest.raises(StorageError, match="holds another run"):
            train_toy(toy.config(tmp_path))
        train_toy(toy.config(tmp_path, seed=3), overwrite=True)
        assert metrics(tmp_path)[0]["step"] == 2
        with pytest.raises(ConfigError, match="seed: 3 in the checkpoint, 0 now"):
            train_toy(toy.config(tmp_path), resume=True)


def test_an_earlier_run_is_there_until_the_new_one_can_begin(tmp_path):
    class Absent(toy.ToyTask):
        def __init__(self, *arguments):
            raise DataError("no images")

    with toy.toy_task():
        train_toy(toy.config(tmp_path))
        before = contents(tmp_path)
        with pytest.raises(DataError, match="no images"):
            train_task(Absent, toy.config(tmp_path, seed=3), overwrite=True)
        assert before == contents(tmp_path)
        train_toy(toy.config(tmp_path, seed=3, solver={"max_iter": 4}), overwrite=True)
    assert [line["step"] for line in metrics(tmp_path)][-1] == 4
    text = (tmp_path / "log.txt").read_text()
    assert text.count("removed the earlier run") == 1 and "no images" not in text


@pytest.mark.parametrize("resume", [False, True])
def test_a_start_that_fails_leaves_nothing(tmp_path, resume):
    class Absent(toy.ToyTask):
        def __init__(self, *arguments):
            raise DataError("no images")

    with pytest.raises(DataError, match="no images"):
        train_task(Absent, toy.config(tmp_path / "a" / "run"), resume=resume)
    assert list(tmp_path.iterdir()) == []


def test_the_log_ends_with_the_error_that_ended_the_run(tmp_path):
    with toy.toy_task(coupled=False, nan_at=6), pytest.raises(DivergedError) as raised:
        train_toy(toy.config(tmp_path))
    text = (tmp_path / "log.txt").read_text()
    assert text.rstrip().endswith(f"ERROR {raised.value}")


def test_where_nothing_is_to_be_resumed_it_is_said(tmp_path, caplog):
    with toy.toy_task():
        train_toy(toy.config(tmp_path), resume=True)
    assert f"{tmp_path}: no checkpoint to resume from; starting at step 0" in caplog.messages


def test_other_data_are_refused_on_resuming(tmp_path):
    with toy.toy_task(signal_at=2), pytest.raises(Interrupted):
        train_toy(toy.config(tmp_path))
    with toy.toy_task(more_classes=["star"]):
        with pytest.raises(DataError, match="trained on 2 classes, but the annotations have 3"):
            train_toy(toy.config(tmp_path), resume=True)
    with toy.toy_task(fingerprint="changed"):
        with pytest.raises(DataError, match="dataset was .*same.* is .*changed"):
            train_toy(toy.config(tmp_path), resume=True)


def test_training_stops_early_when_evaluations_stop_improving(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    settings = {"evaluation": {"period": 2, "patience": 2}}
    with toy.toy_task(ap=[0.1, 0.3, 0.2, 0.3, 0.9, 0.9]):
        train_toy(toy.config(tmp_path, **settings))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["step"] == 8
    assert results["best"] == {"metric": "bbox/AP", "value": 0.3, "step": 4}
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["step_00000004"]
    expected = "ended early, at step 8 of 12: best bbox/AP 0.300 at step 4, and none better in 2"
    assert expected in caplog.text and f"best weights are in {tmp_path / 'best'}" in caplog.text


def test_an_undefined_score_is_no_improvement(tmp_path):
    with toy.toy_task(ap=[float("nan")] * 3):
        train_toy(toy.config(tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())["best"]["value"] is None
    assert list((tmp_path / "best").iterdir()) == []
    assert metrics(tmp_path)[-1]["bbox/AP"] is None


def test_averaged_weights_are_what_is_evaluated_and_exported(tmp_path):
    with toy.toy_task():
        train_toy(toy.config(tmp_path, solver={"ema_decay": 0.5}))
    (last,) = sorted((tmp_path / "checkpoints").iterdir())[-1:]
    exported, average = (
        safetensors.torch.load_file(file)
        for file in (tmp_path / "model.safetensors", last / "average.safetensors")
    )
    model = safetensors.torch.load_file(last / "model.safetensors")
    assert all(torch.equal(exported[name], average[name]) for name in exported)
    assert not torch.equal(exported["head.weight"], model["head.weight"])


def test_the_learning_rate_of_every_step_is_the_schedules(tmp_path):
    with toy.toy_task():
        train_toy(toy.config(tmp_path))
    rates = {line["step"]: line["lr"] for line in metrics(tmp_path) if "lr" in line}
    assert rates[2] == pytest.approx(0.05 * (0.001 * (1 - 1 / 3) + 1 / 3))
    assert rates[4] == rates[12] == 0.05


def test_a_run_of_epochs_has_as_many_steps_and_resumes(tmp_path):
    """The toy's epoch is 100 images, which are 25 batches."""
    epochs = {"solver": {"epochs": 0.5}}
    with toy.toy_task(signal_at=5), pytest.raises(Interrupted):
        train_toy(toy.config(tmp_path, **epochs))
    with toy.toy_task():
        train_toy(toy.config(tmp_path, **epochs), resume=True)
        assert metrics(tmp_path)[-1]["step"] == 13
        train_toy(toy.config(tmp_path, solver={"epochs": 0.6}), resume=True)
    solver = load_config(tmp_path / "config.yaml").solver
    assert (solver.max_iter, solver.epochs, solver.reference_max_iter) == (15, None, 13)


def test_settings_that_need_a_gpu_are_refused_without_one(tmp_path):
    for section in ({"solver": {"amp": "fp16"}}, {"model": {"backbone": {"norm": "SyncBN"}}}):
        with pytest.raises(ConfigError, match="needs? a? ?GPU"):
            train_toy(toy.config(tmp_path, device="cpu", **section))
    assert list(tmp_path.iterdir()) == []


def test_frozen_random_weights_are_warned_about(tmp_path, caplog):
    with toy.toy_task():
        train_task(
            toy.ToyTask,
            toy.config(tmp_path / "a", model={"backbone": {"norm": "GN", "freeze_at": 0}}),
        )
        assert "backbone.weights is not set" not in caplog.text
        train_task(
            toy.ToyTask,
            toy.config(tmp_path / "b", model={"backbone": {"norm": "GN", "freeze_at": 2}}),
        )
    assert "backbone.weights is not set" in caplog.text


def test_two_runs_cannot_train_in_one_folder(server, tmp_path):
    pid = server.start(tmp_path, options={"seconds_per_step": 0.1})
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.jsonl").exists():
        assert time.monotonic() < deadline, "the first run did not begin"
        time.sleep(0.01)
    assert server.run(tmp_path, resume=True) == 4
    assert "another process is using this folder" in server.stderr
    assert server.wait(pid) == 0


class Reading(toy.ToyTask):
    """Has no images, and must not be asked for its weights."""

    @classmethod
    def check_files(cls, cfg):
        if not cfg.data.root == "there":
            raise DataError("no images")

    @classmethod
    def settle(cls, cfg):
        raise WeightsError("weights were read")


def test_weights_are_read_only_when_images_and_output_are_there(tmp_path):
    """They may have to be downloaded."""
    with pytest.raises(DataError, match="no images"):
        train_task(Reading, toy.config(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    there = {"data": {"root": "there"}}
    train_toy(toy.config(tmp_path / "b", solver={"max_iter": 1}))
    with pytest.raises(StorageError, match="holds another run"):
        train_task(Reading, toy.config(tmp_path / "b", **there))
    with pytest.raises(WeightsError, match="weights were read"):
        train_task(Reading, toy.config(tmp_path / "c", **there))
    assert not (tmp_path / "c").exists()
