"""A run: what it counts, keeps, restores and refuses; whole trainings are in test_train."""

import json
import logging
import random

import numpy as np
import pytest
import torch
import toy

from resnet_backbone.engine.interrupt import StopFlag
from resnet_backbone.engine.run import begin_run
from resnet_backbone.engine.step import StepResult
from resnet_backbone.engine.task import Settled
from resnet_backbone.errors import ConfigError, DataError, StorageError
from resnet_backbone.utils import distributed, precision, storage

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _clean_options():
    toy.OPTIONS.clear()
    yield
    toy.OPTIONS.clear()


def begin(output, *, resume=False, **sections):
    return begin_run(
        toy.ToyTask, Settled(toy.config(output, **sections)), output, CPU, resume=resume
    )


def step(run, rate=0.1, **values):
    """Counts a step that found these values, without doing one."""
    run.count(StepResult({"loss_cls": 1.0, "loss_box_reg": 0.5} | values, stop=False), rate)


def metrics(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


# --- setting up ---


def test_nothing_is_written_before_the_run_is_entered(tmp_path):
    run = begin(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with run:
        written = {path.name for path in tmp_path.iterdir()}
    assert {"checkpoints", "config.yaml", "environment.json", "metrics.jsonl"} <= written


def test_ranks_begin_with_the_same_weights_and_draw_different_numbers(tmp_path, monkeypatch):
    weights, drawn = [], set()
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        weights.append(begin(tmp_path).state.model.state_dict())
        drawn.add((random.random(), np.random.rand(), torch.rand(1).item()))
    assert all(len(set(column)) == 3 for column in zip(*drawn, strict=True))
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in other)


def test_the_configuration_is_scaled_and_the_seed_set(tmp_path):
    changes = {"solver": {"scale": True, "batch_size": 8, "lr": 0.1}, "seed": 4}
    run = begin(tmp_path, **changes)
    assert run.cfg.solver.lr == 0.05 and not run.cfg.solver.scale  # 8 images for 16
    drawn = random.random(), torch.rand(1)
    begin(tmp_path, **changes)
    assert (random.random(), torch.rand(1)) == drawn


def test_the_state_has_what_the_solver_asks_for(tmp_path):
    plain = begin(tmp_path)
    assert plain.state.average is None and not plain.state.scaler.is_enabled()
    assert isinstance(plain.state.optimizer, torch.optim.SGD)
    assert plain.state.model.training
    solver = {"ema_decay": 0.9, "optimizer": "adamw"}
    other = begin(tmp_path, solver=solver)
    assert other.state.average.decay == 0.9
    assert isinstance(other.state.optimizer, torch.optim.AdamW)


# --- precision ---


def fast_bf16(monkeypatch, fast):
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_bf16_on_a_device_that_is_fast_at_it(tmp_path, monkeypatch, fast):
    fast_bf16(monkeypatch, fast)
    run = begin(tmp_path, solver={"amp": "auto"})
    assert run.cfg.solver.amp == run.task.cfg.solver.amp == ("bf16" if fast else "off")


def test_one_slow_rank_makes_all_train_in_float32(tmp_path, monkeypatch):
    """Ranks must agree, and this one would be waited for."""
    fast_bf16(monkeypatch, True)
    monkeypatch.setattr(distributed, "is_true_anywhere", lambda flag: True)
    assert begin(tmp_path, solver={"amp": "auto"}).cfg.solver.amp == "off"


@pytest.mark.parametrize("begun_in", ["bf16", "off"])
def test_a_run_goes_on_in_the_precision_it_was_begun_in(tmp_path, monkeypatch, caplog, begun_in):
    fast_bf16(monkeypatch, begun_in == "bf16")
    with begin(tmp_path, solver={"amp": "auto"}) as run:
        step(run)
        run.save()
    fast_bf16(monkeypatch, begun_in == "off")  # another machine
    resumed = begin(tmp_path, resume=True, solver={"amp": "auto"})
    assert resumed.cfg.solver.amp == begun_in
    assert ("for which this processor has no instructions" in caplog.text) is (begun_in == "bf16")
    other = "off" if begun_in == "bf16" else "bf16"
    with pytest.raises(ConfigError, match=f"solver.amp: {begun_in} in the checkpoint, {other} now"):
        begin(tmp_path, resume=True, solver={"amp": other})


# --- counting ---


def test_lines_hold_the_mean_of_the_steps_since_the_last_one(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    with begin(tmp_path, log_period=3, solver={"max_iter": 7}) as run:
        for number in range(7):
            step(run, rate=0.1 + number, loss_cls=float(number), error=0.25)
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 7]  # the last step always has one
    assert [line["loss_cls"] for line in lines] == [1.0, 4.0, 6.0]
    assert [line["loss"] for line in lines] == [1.5, 4.5, 6.5]  # what is no loss is not summed
    assert [line["error"] for line in lines] == [0.25] * 3
    assert [line["lr"] for line in lines] == [2.1, 5.1, 6.1]
    assert "step 6/7 loss 4.500 error 0.250 lr 5.1" in caplog.text
    assert " cls 4.000 box_reg 0.500\n" in caplog.text


def test_what_is_due_after_which_step(tmp_path):
    sections = {
        "evaluation": {"period": 4},
        "checkpoint": {"period": 3},
        "solver": {"max_iter": 10},
    }
    saved, judged = [], []
    with begin(tmp_path, **sections) as run:
        while not run.is_over:
            step(run)
            number = run.state.progress.step
            if run.checkpoint_is_due:
                saved.append(number)
            if run.state.progress.evaluation_pending:
                judged.append(number)
    assert judged == [4, 8, 10]
    assert saved == [3, 4, 6, 8, 9, 10]  # before each evaluation, so that a signal loses nothing


def test_without_a_period_the_end_alone_is_judged(tmp_path):
    with begin(
        tmp_path, evaluation={"period": 0}, solver={"max_iter": 3, "warmup_iters": 0}
    ) as run:
        pending = []
        for _ in range(3):
            step(run)
            pending.append(run.state.progress.evaluation_pending)
    assert pending == [False, False, True]


@pytest.mark.parametrize(("patience", "over"), [(None, False), (3, False), (2, True)])
def test_patience_ends_a_run_before_its_last_step(tmp_path, patience, over):
    run = begin(tmp_path, evaluation={"patience": patience})
    run.state.progress.without_improvement = 2
    assert run.is_over == over
    run.state.progress.step = 12
    assert run.is_over


def test_warm_up_is_over_for_good_once_the_error_has_fallen(tmp_path):
    solver = {"warmup_until_error": 0.8}
    warm = []
    with begin(tmp_path, log_period=2, solver=solver) as run:
        for error in (0.9, 0.9, 0.9, 0.6, 0.95, 0.95):
            step(run, error=error)
            warm.append(run.state.progress.warm)
    # The mean of steps 3 and 4 is 0.75; that of 5 and 6 is above the limit again.
    assert warm == [False, False, False, True, True, True]
    with begin(tmp_path / "other", log_period=1) as run:
        step(run, error=0.0)
    assert not run.state.progress.warm


# --- judging ---


def test_the_best_weights_are_kept_and_each_result_is_a_line(tmp_path):
    toy.OPTIONS["ap"] = [0.2, 0.3, 0.1, float("nan")]
    kept = []
    with begin(tmp_path) as run:
        for number in (1, 2, 3, 4):
            run.state.progress.step = number
            run.state.progress.evaluation_pending = True
            run.evaluate(StopFlag())
            kept += [[path.name for path in (tmp_path / "best").iterdir()]]
    assert kept == [["step_00000001"], *[["step_00000002"]] * 3]
    progress = run.state.progress
    assert (progress.best, progress.best_step, progress.without_improvement) == (0.3, 2, 2)
    assert not progress.evaluation_pending
    assert [line["bbox/AP"] for line in metrics(tmp_path)] == [0.2, 0.3, 0.1, None]
    assert run.result.flat()["bbox/AP"] is None


@pytest.mark.parametrize(
    ("steps", "period", "drawn"),
    [
        (25, 1, [3, 5, 8, 10, 13, 15, 18, 20, 23]),  # the first after each tenth of the run
        (12, 5, [5, 10]),
        (12, 0, []),
    ],
)
def test_pictures_during_a_run_are_spread_over_it(tmp_path, steps, period, drawn):
    sections = {"solver": {"max_iter": steps}, "evaluation": {"period": period}}
    with begin(tmp_path, **sections) as run:
        for _ in range(steps):
            step(run)
            if run.state.progress.evaluation_pending:
                run.evaluate(StopFlag())
    folders = sorted(path.name for path in tmp_path.glob("pictures/*"))
    assert folders == [f"step_{number:08d}" for number in drawn]


def test_averaged_weights_are_judged_and_put_back(tmp_path):
    run = begin(tmp_path, solver={"ema_decay": 0.9})
    average = {name: tensor.clone() for name, tensor in run.state.average.tensors.items()}
    with torch.no_grad():
        for parameter in run.task.model.parameters():
            parameter.add_(1.0)
    trained = {name: tensor.clone() for name, tensor in run.task.model.state_dict().items()}
    with pytest.raises(RuntimeError, match="in the block"):
        with run.exported_weights():
            inside = run.task.model.state_dict()
            assert all(torch.equal(inside[name], tensor) for name, tensor in average.items())
            raise RuntimeError("in the block")
    after = run.task.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in trained.items())
    assert all(torch.equal(run.state.average.tensors[name], t) for name, t in average.items())


def test_statistics_are_those_of_the_main_rank_and_parameters_are_not_sent(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, "broadcast_tensor", sent.append)
    run = begin(tmp_path)
    with run.exported_weights():
        pass
    buffers = dict(run.task.model.named_buffers())
    assert set(buffers) == {
        f"norm.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert [tensor.data_ptr() for tensor in sent] == [t.data_ptr() for t in buffers.values()]


# --- restoring ---


@pytest.fixture
def saved(tmp_path):
    """A run with a checkpoint of step 5."""
    with begin(tmp_path, seed=2) as run:
        for _ in range(5):
            step(run)
        random.random()
        run.save()
        drawn = random.random(), torch.rand(1)
    return tmp_path, run, drawn


def test_a_resumed_run_has_the_state_and_the_generators_of_the_saved_one(saved, caplog):
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    output, run, drawn = saved
    again = begin(output, resume=True, seed=2)
    assert again.state.progress == run.state.progress
    for name, tensor in again.task.model.state_dict().items():
        assert torch.equal(tensor, run.task.model.state_dict()[name]), name
    assert (random.random(), torch.rand(1)) == drawn
    assert "step_00000005: step 5, model, optimizer, random generators of 1 rank," in caplog.text


def test_more_ranks_than_were_saved_begin_with_their_own_generators(saved, monkeypatch):
    output, _, drawn = saved
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    begin(output, resume=True, seed=2)
    assert (random.random(), torch.rand(1)) != drawn


def test_where_it_goes_on_is_said(saved):
    output, run, _ = saved
    folder = output / "checkpoints" / "step_00000005"
    assert folder.is_dir()
    expected = f"step 5 is saved in {folder}; continue with the same command and --resume"
    assert run.how_to_continue() == expected


def test_other_settings_are_refused_before_the_task_is_built(saved, monkeypatch):
    output, _, _ = saved
    monkeypatch.setattr(toy.ToyTask, "__init__", None)
    with pytest.raises(ConfigError, match="seed: 2 in the checkpoint, 3 now"):
        begin(output, resume=True, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"more_classes": ["star"]}, "was trained on 2 classes, but the annotations have 3"),
        (
            {"fingerprint": "other"},
            "was trained on other annotations: dataset was .*'same'.* is .*",
        ),
    ],
)
def test_other_data_are_refused(saved, options, message):
    output, _, _ = saved
    toy.OPTIONS.update(options)
    with pytest.raises(DataError, match=f"step_00000005 {message}"):
        begin(output, resume=True, seed=2)


def test_mended_validation_data_are_accepted_and_former_scores_forgotten(tmp_path, caplog):
    toy.OPTIONS["ap"] = [0.9]
    with begin(tmp_path) as run:
        step(run)
        run.state.progress.evaluation_pending = True
        run.evaluate(StopFlag())
        run.save()
    toy.OPTIONS["validation"] = "mended"
    progress = begin(tmp_path, resume=True).state.progress
    assert (progress.step, progress.best, progress.best_step, progress.history) == (
        1,
        None,
        None,
        [],
    )
    assert "the validation data were others; its scores (best 0.9 at step 1)" in caplog.text


def test_another_number_of_ranks_is_said(saved, caplog, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr("resnet_backbone.engine.run._parallel", lambda model, device: model)
    begin(saved[0], resume=True, seed=2)
    assert "ranks: 1 before, 2 from now on" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", None, "about.config: expected a dict"),
        ("config", {"solver": 3}, "about.config.solver: expected max_iter"),
        ("class_names", "cat", "about.class_names: expected a list"),
        ("generators", None, "about.generators: expected a list"),
        ("generators", [5], "the state of the random generators is damaged"),
        ("generators", [{"python": [3, [1], None]}], "the state of the random generators is"),
    ],
)
def test_a_checkpoint_that_says_nothing_of_its_run_is_refused(saved, key, value, message):
    output, run, _ = saved
    files = run.checkpoints.newest().files
    record = json.loads(files["state.json"])
    record["about"][key] = value
    files["state.json"] = json.dumps(record).encode()
    folder = output / "checkpoints" / "step_00000006"
    storage.commit_folder(folder, list(files.items()))
    with pytest.raises(StorageError, match=message):
        begin(output, resume=True, seed=2)


def test_a_resumed_run_of_another_length_keeps_its_schedule(tmp_path):
    """Fitted to 36 steps; the steps that are done followed it, so the others do."""

    def of_length(count, **sections):
        solver = {"scale": True, "max_iter": count, "reference_max_iter": 90, "milestones": [60]}
        overrides = [f"solver.max_iter={count}", "solver.batch_size=4"]
        return {"solver": solver | sections, "overrides": overrides}

    with begin(tmp_path, **of_length(36)) as run:
        step(run)
        run.save()
    assert run.cfg.solver.milestones == (24,)
    for count in (72, 30, 36):
        with begin(tmp_path, resume=True, **of_length(count)) as run:
            step(run)
            run.save()
        assert (run.cfg.solver.max_iter, run.cfg.solver.milestones) == (count, (24,))
        assert run.cfg.solver.reference_max_iter == (None if count == 36 else 36)
    with pytest.raises(ConfigError, match=r"solver.milestones: \[24\] in the checkpoint, \[20\]"):
        begin(tmp_path, resume=True, **of_length(36, milestones=[50]))


def test_where_there_is_nothing_to_resume_the_run_begins_at_its_start(tmp_path, caplog):
    run = begin(tmp_path, resume=True)
    assert run.state.progress.step == 0
    assert f"{tmp_path}: no checkpoint to resume from; starting at step 0" in caplog.text
