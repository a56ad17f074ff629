import json
import os
import resource
import shutil
import sys
from contextlib import suppress

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet_backbone.engine import metrics
from resnet_backbone.engine.metrics import Clock, MetricsLog, ProgressBar, summary
from resnet_backbone.errors import StorageError


def steps(file):
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def test_lines_are_json_and_reach_tensorboard(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", tmp_path / "board", 0)
    log.write(2, {"loss": 1.5, "lr": 0.1})
    log.write(2, {"bbox/AP": None})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert lines == [{"step": 2, "loss": 1.5, "lr": 0.1}, {"step": 2, "bbox/AP": None}]
    (events,) = (tmp_path / "board").iterdir()
    assert b"loss" in events.read_bytes() and b"bbox" not in events.read_bytes()


def test_going_on_removes_what_will_be_written_again(tmp_path):
    file = tmp_path / "m.jsonl"
    lines = [
        {"step": 2, "lr": 1},
        {"step": 2, "bbox/AP": 0.1},
        {"step": 4, "lr": 1},
        {"step": 4, "bbox/AP": 0.2},
        {"step": 6, "lr": 1},
    ]
    torn = '{"step": 6, "bbox'
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    MetricsLog(file, tmp_path / "board", 4).close()
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines[:3]


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"loss": 1}', '{"step": null}', "\x00"])
def test_damaged_lines_are_removed(tmp_path, line):
    file = tmp_path / "m.jsonl"
    file.write_text(f'{{"step": 1, "lr": 1}}\n{line}\n{{"step": 3, "lr": 1}}\n')
    MetricsLog(file, tmp_path / "board", 5).close()
    assert steps(file) == [1, 3]


def test_a_fresh_start_leaves_no_old_lines(tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_text('{"step": 1, "lr": 1}\n')
    MetricsLog(file, tmp_path / "board", 0).close()
    assert file.read_text() == ""


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "m.jsonl").mkdir()
    with pytest.raises(StorageError, match="m.jsonl"):
        MetricsLog(tmp_path / "m.jsonl", tmp_path / "board", 0)


def test_the_clock_tells_data_from_compute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    clock = Clock()
    for _ in range(4):
        now[0] += 100.0  # an evaluation
        clock.start()
        now[0] += 0.25
        clock.loaded()
        now[0] += 0.75
        clock.computed()
    assert clock.read(steps_left=10) == {"time_data": 0.25, "time_compute": 0.75, "eta_s": 10.0}
    clock.start()
    now[0] += 6.0
    clock.loaded()
    clock.computed()
    assert clock.read(steps_left=2) == {"time_data": 6.0, "time_compute": 0.0, "eta_s": 4.0}


def test_the_summary_reads_well():
    line = {"loss": 1.5, "loss_cls": 1.0, "loss_mask": 0.5, "lr": 0.02}
    line |= {"time_data": 0.01, "time_compute": 0.5, "eta_s": 3725.4}
    expected = "loss 1.500 (cls 1.000 mask 0.500) lr 0.02 data 0.010 s compute 0.500 s eta 1:02:05"
    assert summary(line) == expected


def test_the_summary_of_many_losses_has_two_lines_that_fit():
    names = ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask")
    line = {"loss": 2.5, **dict.fromkeys(names, 0.5), "lr": 0.00055}
    line |= {"time_data": 0.01, "time_compute": 0.5, "eta_s": 3725.4}
    first, second = summary(line).split("\n")
    assert first == "loss 2.500 lr 0.00055 data 0.010 s compute 0.500 s eta 1:02:05"
    assert (
        second.split() == "rpn_cls 0.500 rpn_loc 0.500 cls 0.500 box_reg 0.500 mask 0.500".split()
    )
    longest = f"15:23:31 INFO step 720000/720000 {first}"
    assert max(len(longest), len(second)) <= 120


def test_there_is_no_bar_where_there_is_no_terminal(capsys):
    with ProgressBar(0, 3, enabled=True) as bar:
        bar.advance(1.0)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_the_loss(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressBar(1, 3, enabled=True) as bar:
        bar.advance(1.25)
    assert "loss 1.250" in capsys.readouterr().err


def tensorboard_points(folder, name):
    """Steps and values as TensorBoard shows them, purged as it purges."""
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, round(event.value, 3)) for event in events.Scalars(name)]


def test_tensorboard_shows_each_point_once_after_a_resume(tmp_path):
    file, board = tmp_path / "m.jsonl", tmp_path / "board"
    log = MetricsLog(file, board, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": step / 10, "lr": 0.1})
        log.write(step, {"bbox/AP": step / 100})
    log.close()
    log = MetricsLog(file, board, 4)  # killed after step 6, resumed from the checkpoint of step 4
    log.write(4, {"bbox/AP": 0.04})
    log.write(6, {"loss": 0.6, "lr": 0.1})
    log.close()
    assert steps(file) == [2, 2, 4, 4, 6]
    assert tensorboard_points(board, "loss") == [(2, 0.2), (4, 0.4), (6, 0.6)]
    assert tensorboard_points(board, "bbox/AP") == [(2, 0.02), (4, 0.04)]


@pytest.mark.parametrize("trouble", ["the folder is deleted", "the disk is full"])
def test_closing_what_cannot_be_written_is_a_storage_error_too(tmp_path, capfd, trouble):
    (tmp_path / "run").mkdir()
    log = MetricsLog(tmp_path / "run" / "m.jsonl", tmp_path / "run" / "board", 0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if trouble == "the disk is full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
        else:
            shutil.rmtree(tmp_path / "run")
        reason = "File too large" if trouble == "the disk is full" else "No such file or directory"
        with pytest.raises(StorageError, match=f"run: metrics cannot be written: {reason}$"):
            for step in range(100):
                log.write(step, {"loss": 1.0})
            log.close()
        with suppress(StorageError):  # of no other type
            log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "Traceback" not in capfd.readouterr().err


def test_a_pipe_under_the_name_of_the_file_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.jsonl")
    with pytest.raises(StorageError, match=r"m\.jsonl: cannot be read: .*not a regular file"):
        MetricsLog(tmp_path / "m.jsonl", tmp_path / "board", 0)
