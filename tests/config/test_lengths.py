"""Schedules that are fitted to another length."""

import pytest

from resnet_backbone.config.lengths import fit_to_length, rescaled
from resnet_backbone.config.load import load_config

TREE = {
    "solver": {"schedule": "multistep", "milestones": (60, 80), "warmup_iters": 10},
    "data": {"progressive": ((0, 96), (45, 128))},
}


def test_milestones_keep_their_place_and_a_warm_up_is_only_shortened():
    assert fit_to_length(TREE, 45, 90) == {
        "solver.milestones": (30, 40),
        "solver.warmup_iters": 5,
        "data.progressive": ((0, 96), (22, 128)),
    }
    assert fit_to_length(TREE, 180, 90, keep=["data.progressive"]) == {
        "solver.milestones": (120, 160)
    }
    cosine = {"solver": TREE["solver"] | {"schedule": "cosine"}, "data": {}}
    assert fit_to_length(cosine, 9, 90) == {"solver.warmup_iters": 1}


@pytest.mark.parametrize("length", ["long", None, 0, -5, [3]])
def test_what_is_no_length_is_left_to_the_validation(length):
    assert fit_to_length(TREE, length, 90) == fit_to_length(TREE, 90, length) == {}


def test_steps_stay_apart_and_above_zero():
    assert rescaled((1, 2, 3), 100.0) == (1, 2, 3)
    assert rescaled(0, 2.0) == 0 and rescaled(1, 50.0) == 1


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def solver(*arguments):
    return load_config(*arguments).solver


def test_a_file_with_a_length_alone_has_the_schedule_of_the_command_line(tmp_path):
    """As 90,000 steps: milestones at 2/3 and 8/9 of the run, warm-up over its first 1/90."""
    base = "_base_: coco_frcnn_r50.yaml\nsolver: {"
    found = solver(write(tmp_path, "own.yaml", base + "max_iter: 9000}"))
    assert (found.max_iter, found.milestones, found.warmup_iters) == (9000, (6000, 8000), 100)
    found = solver(write(tmp_path, "all.yaml", base + "max_iter: 9000, milestones: [50]}"))
    assert (found.milestones, found.warmup_iters) == ((50,), 100)
    again = write(tmp_path, "more.yaml", "_base_: own.yaml\nsolver: {max_iter: 900}")
    found = solver(again)
    assert (found.milestones, found.warmup_iters) == ((600, 800), 10)
    found = solver(again, ["solver.max_iter=90"])
    assert (found.reference_max_iter, found.milestones) == (900, (600, 800))
