"""Two processes that talk through Gloo."""

import json
import signal
import time

import pytest


def losses(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "lr" in line]


def evaluations(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [(line["bbox/AP"], line["val_loss"]) for line in lines if "lr" not in line]


# Nothing here may depend on how a batch is divided: no batch statistics, no dropout.
FREE = {"coupled": False}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_find_what_one_finds_on_the_same_batches(server, tmp_path, accumulate):
    sections = {"solver": {"accumulate": accumulate, "ema_decay": 0.9, "clip_grad_norm": 1.0}}
    one, two = tmp_path / "one", tmp_path / "two"
    assert server.run(one, options=FREE, sections=sections) == 0, server.stderr
    job = {"options": FREE, "sections": sections}
    assert server.run_ranks(two, [job, job]) == [0, 0], server.stderr
    assert "Warning" not in server.stderr  # of torch, about arguments that it renames
    # The mean over a batch is taken in another order, which costs a float32 rounding (6e-8) or a
    # few per step; 12 steps of a smooth model do not blow that up to 1e-5.
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    for found, expected in zip(evaluations(two), evaluations(one), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_soon(server, tmp_path):
    begun = time.monotonic()
    job = {"options": FREE | {"nan_at": 6, "on_rank": 1}}
    assert server.run_ranks(tmp_path, [job, job]) == [5, 5]
    assert time.monotonic() - begun < 15
    assert "rank 0: loss_cls 0." in server.stderr and "rank 1: loss_cls nan" in server.stderr
    assert "images 25, 27" in server.stderr
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step_00000003", "step_00000004"]


def test_a_gradient_that_is_not_finite_on_one_rank_stops_both_at_its_step(server, tmp_path):
    job = {"options": FREE | {"broken_at": 6, "on_rank": 1}}
    assert server.run_ranks(tmp_path, [job, job]) == [5, 5]
    assert "the gradient of step 6 is not finite" in server.stderr
    assert "images 25, 27" in server.stderr
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["step_00000003", "step_00000004"]


@pytest.mark.parametrize("where", [{"signal_at": 5}, {"signal_in_evaluation": 1}])
def test_a_signal_to_one_rank_stops_both_and_both_resume(server, tmp_path, where):
    calm, hit = {"options": {}}, {"options": where | {"signal": int(signal.SIGTERM)}}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert server.run_ranks(whole, [calm, calm]) == [0, 0], server.stderr
    assert server.run_ranks(parts, [calm, hit]) == [75, 75], server.stderr
    again = {"resume": True}
    assert server.run_ranks(parts, [again, again]) == [0, 0], server.stderr
    assert losses(parts) == losses(whole)
    assert evaluations(parts) == evaluations(whole)
    ends = [output / "checkpoints" / "step_00000012" for output in (whole, parts)]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (ends[0] / name).read_bytes() == (ends[1] / name).read_bytes()


def test_both_ranks_end_with_the_main_ranks_error(server, tmp_path):
    assert server.run(tmp_path) == 0
    assert server.run_ranks(tmp_path, [{}, {}]) == [4, 4]
    assert server.stderr.count("holds another run") == 2


def test_a_batch_that_ranks_cannot_share_is_refused_on_both(server, tmp_path):
    job = {"sections": {"solver": {"batch_size": 3}}}
    assert server.run_ranks(tmp_path, [job, job]) == [2, 2]
    assert "expected a multiple of 2" in server.stderr


@pytest.mark.parametrize(("how", "code", "told"), [("data", 3, "image 7"), ("bug", 70, "KeyError")])
def test_all_ranks_end_with_the_code_of_the_one_that_failed(server, tmp_path, how, code, told):
    job = {"options": FREE | {"fail_at": 5, "how": how, "on_rank": 1}}
    assert server.run_ranks(tmp_path, [job, job]) == [code, code]
    assert "error: rank 1 failed: " in server.stderr
    assert server.stderr.count(told) >= 2
    assert server.stderr.count("Traceback") == (how == "bug")
    last = (tmp_path / "log.txt").read_text().splitlines()[-1]
    assert "ERROR rank 1 failed: " in last and told in last


def test_a_bad_image_of_one_rank_costs_no_step(server, tmp_path):
    calm, bad = {}, {"options": {"fail_at": 6, "how": "data", "on_rank": 1}}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert server.run_ranks(whole, [calm, calm]) == [0, 0], server.stderr
    assert server.run_ranks(parts, [bad, bad]) == [3, 3], server.stderr
    assert server.stderr.count("step 5 is saved in") == 2
    again = {"resume": True}
    assert server.run_ranks(parts, [again, again]) == [0, 0], server.stderr
    assert losses(parts) == losses(whole)
    ends = [output / "checkpoints" / "step_00000012" for output in (whole, parts)]
    assert len({(end / "model.safetensors").read_bytes() for end in ends}) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_is_named(server, tmp_path, rank):
    job = {"options": FREE | {"fail_at": 5, "how": "killed", "on_rank": rank}}
    codes = server.run_ranks(tmp_path, [job, job])
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 69
    assert f"error: rank {rank} is gone; " in server.stderr
    assert "start again with --resume" in server.stderr and "Traceback" not in server.stderr
    if rank == 1:  # the main rank is left to write it
        assert "ERROR rank 1 is gone; " in (tmp_path / "log.txt").read_text().splitlines()[-1]
