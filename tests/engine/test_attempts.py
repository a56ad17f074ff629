"""Restarts by torchrun: what one job has begun goes on, and nothing else does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_backbone.engine import attempts
from resnet_backbone.engine.attempts import MARK, is_restart, mark_as_begun


@pytest.fixture
def job(monkeypatch):
    """Plays a process of a torchrun job."""

    def be(count=0, *, run_id="none", agent=100, process=101):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(count))
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", run_id)
        monkeypatch.setattr(os, "getppid", lambda: agent)
        monkeypatch.setattr(os, "getpid", lambda: process)

    return be


def test_another_process_of_the_same_job_goes_on(tmp_path, job):
    job()
    assert not is_restart(tmp_path)
    mark_as_begun(tmp_path)
    assert not is_restart(tmp_path)  # a second run of the same process, by the same script
    job(1, process=102)
    assert is_restart(tmp_path)
    job(0, process=102)  # torchrun counts failures, not changes of the number of machines
    assert is_restart(tmp_path)


def test_a_restart_does_not_go_on_with_what_another_job_has_begun(tmp_path, job):
    job(agent=100, process=101)
    mark_as_begun(tmp_path)
    job(1, agent=200, process=201)
    assert not is_restart(tmp_path)


def test_a_named_job_is_known_on_another_machine_once_it_is_restarted(tmp_path, job):
    job(run_id="train-7")
    mark_as_begun(tmp_path)
    job(1, run_id="train-7", agent=200, process=201)
    assert is_restart(tmp_path)
    job(0, run_id="train-7", agent=200, process=201)  # a later job of the same name
    assert not is_restart(tmp_path)
    job(1, run_id="train-8", agent=200, process=201)
    assert not is_restart(tmp_path)


def test_without_torchrun_nothing_is_marked_and_marks_are_removed(tmp_path, job, monkeypatch):
    job()
    mark_as_begun(tmp_path)
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    assert not is_restart(tmp_path)
    mark_as_begun(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"agent": 3}', "\udc80"])
def test_a_damaged_mark_is_none(tmp_path, job, content):
    job(1)
    (tmp_path / MARK).write_text(content, errors="surrogateescape")
    assert not is_restart(tmp_path)


def test_a_process_is_told_from_a_later_one_of_its_number(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = [attempts._process(child.pid), attempts._process(os.getpid())]
    child.communicate(b"\n")
    assert len({name.split()[-1] for name in names}) == 2 or sys.platform != "linux"
    assert attempts._process(os.getpid()) == names[1]


# --- whole runs; the server that forks them stands for torchrun's agent ---


def attempt(count):
    return {"environment": {"TORCHELASTIC_RESTART_COUNT": str(count)}}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_restart_keeps_the_progress_whatever_the_flag(server, tmp_path, overwrite):
    killed = {"fail_at": 8, "how": "killed"}
    code = server.run(tmp_path, options=killed, overwrite=overwrite, **attempt(0))
    assert code == -signal.SIGKILL
    assert server.run(tmp_path, overwrite=overwrite, **attempt(1)) == 0, server.stderr
    assert "restarted by torchrun" in server.stderr and "step_00000006: step 6" in server.stderr


@pytest.mark.parametrize(("overwrite", "code"), [(False, 4), (True, 0)])
def test_a_restart_that_has_begun_nothing_obeys_the_flag(server, tmp_path, overwrite, code):
    """The first attempt failed before it discarded the other run, or was refused."""
    assert server.run(tmp_path) == 0
    assert server.run(tmp_path, overwrite=overwrite, **attempt(1)) == code
    assert "resumed from" not in server.stderr


def test_the_first_attempt_discards_another_run(server, tmp_path):
    assert server.run(tmp_path, sections={"seed": 3}) == 0
    assert server.run(tmp_path, overwrite=True, **attempt(0)) == 0, server.stderr
    assert "removed the earlier run" in server.stderr


TOY = Path(__file__).parents[1] / "helpers" / "toy.py"


@pytest.mark.slow
@pytest.mark.parametrize("flag", [[], ["overwrite"]])
def test_torchrun_restarts_a_job_whose_rank_is_killed(tmp_path, flag):
    """With torchrun's own store, which keeps the addresses of the first attempt."""
    log, output = tmp_path / "log.txt", tmp_path / "run"
    task = {
        "output": str(output),
        "options": {"coupled": False, "fail_at": 8, "how": "killed", "on_rank": 1, "attempt": "0"},
        **dict.fromkeys(flag, True),
    }
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node=2", "--max-restarts=1", TOY, json.dumps(task)]
    with log.open("w") as stream:
        done = subprocess.run(command, stderr=stream, timeout=120)
    told = log.read_text()
    assert done.returncode == 0, told
    assert "error: rank 1 is gone" in told
    assert "restarted by torchrun" in told and "step_00000006: step 6" in told
    assert "removed the earlier run" not in told and "Traceback" not in told
