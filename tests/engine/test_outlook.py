"""What the log says before the first step, and what it warns of."""

import logging
import time
from types import SimpleNamespace

import pytest

from resnet_backbone.config.schema import Config
from resnet_backbone.engine.outlook import announce, expected_end, highest_rate
from resnet_backbone.engine.schedule import learning_rate


def said(caplog, counts, images=37, **solver):
    caplog.set_level(logging.INFO)
    solver = {"batch_size": 4, "max_iter": 100, "milestones": [], "warmup_iters": 5} | solver
    cfg = Config.model_validate({"solver": solver, "evaluation": {"period": 30}})
    task = SimpleNamespace(
        training_images=images,
        label="boxes",
        class_names=tuple(counts),
        label_counts=lambda: counts,
    )
    announce(task, cfg)
    return caplog.messages


def test_images_boxes_and_the_length_of_the_run(caplog):
    assert said(caplog, {"cat": 7, "dog": 1234}) == [
        "training images: 37; boxes: 1,234 dog, 7 cat",
        # 9 of 37 // 4, 100 * 4 / 37; evaluated at 30, 60, 90 and at the end.
        "100 steps of 4 images, 9 per epoch, 10.8 epochs; highest learning rate 0.02; "
        "4 evaluations",
    ]


def test_of_many_classes_the_commonest_and_the_rarest(caplog):
    line = said(caplog, {f"c{number}": number for number in range(80)})[0]
    assert line.endswith(
        "79 c79, 78 c78, 77 c77, 76 c76, 75 c75, 74 c74, (68 classes between), "
        "5 c5, 4 c4, 3 c3, 2 c2, 1 c1, 0 c0"
    )


def test_what_cannot_work_is_said(caplog):
    lines = said(caplog, {"a": 1, "b": 1, "c": 1}, images=1, max_iter=2, warmup_iters=0)
    assert lines[2:] == [
        "there is one training image, which the model can only memorise",
        "the run has 2 steps, fewer than its 3 classes",
    ]
    assert lines[1].startswith("2 steps of 4 images, 1 per epoch, 8 epochs; ")


@pytest.mark.parametrize(
    "solver",
    [
        {"schedule": "cosine", "warmup_iters": 60},
        {"schedule": "multistep", "milestones": [20, 70], "warmup_iters": 60},
        {"schedule": "multistep", "milestones": [60, 80], "warmup_iters": 0},
        {"schedule": "plateau", "warmup_until_error": 0.5},
    ],
)
def test_the_highest_rate_is_that_of_all_steps(solver):
    cfg = Config.model_validate({"solver": {"max_iter": 100, "lr": 0.3, **solver}})
    rates = [learning_rate(cfg.solver, step) for step in range(100)]
    assert highest_rate(cfg) == max(rates)


def test_the_end_is_a_time_of_the_day_or_a_date(monkeypatch):
    monkeypatch.setattr("time.localtime", time.gmtime)
    now = 1_700_000_000  # 2023-11-14 22:13:20
    said = "0.50 s per step: training ends about 22:23, without evaluations"
    assert expected_end(0.5, 1200, now) == said
    assert "about 2023-11-16 00:01," in expected_end(2.5, 37_150, now)
