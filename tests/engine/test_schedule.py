import logging
import math
import re

import pytest

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.load import load_any_config
from resnet_backbone.config.schema import Config, SolverConfig
from resnet_backbone.engine.schedule import (
    learning_rate,
    misfits,
    scale_to_batch,
    settle_epochs,
)
from resnet_backbone.errors import ConfigError


def detectron2_rate(step, base, milestones, gamma, warmup_iters, warmup_factor):
    """solver/lr_scheduler.py: WarmupMultiStepLR.get_lr with linear warm-up, in plain Python."""
    if step >= warmup_iters:
        factor = 1.0
    else:
        alpha = step / warmup_iters
        factor = warmup_factor * (1 - alpha) + alpha
    return base * factor * gamma ** len([m for m in milestones if m <= step])


def test_multistep_rates_are_detectron2s():
    solver = SolverConfig()
    for step in (0, 1, 500, 999, 1000, 59_999, 60_000, 79_999, 80_000, 89_999):
        expected = detectron2_rate(step, 0.02, (60_000, 80_000), 0.1, 1000, 0.001)
        assert learning_rate(solver, step) == pytest.approx(expected, rel=1e-12)


def test_known_rates():
    solver = SolverConfig(lr=1.0, max_iter=10, milestones=(4, 8), warmup_iters=0)
    assert [round(learning_rate(solver, s), 6) for s in range(10)] == [1.0] * 4 + [0.1] * 4 + [
        0.01,
        0.01,
    ]
    warm = SolverConfig(lr=1.0, warmup_iters=4, warmup_factor=0.2, milestones=())
    assert [learning_rate(warm, s) for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_falls_from_the_full_rate_to_none():
    solver = SolverConfig(lr=2.0, schedule="cosine", max_iter=100, warmup_iters=0)
    assert learning_rate(solver, 0) == 2.0
    assert learning_rate(solver, 50) == pytest.approx(1.0)
    assert learning_rate(solver, 25) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(solver, 100) == learning_rate(solver, 150) == 0.0


def test_half_the_batch_takes_half_the_rate_and_twice_the_steps():
    cfg = Config.model_validate({"solver": {"batch_size": 8}})
    scaled = scale_to_batch(cfg, world_size=1)
    assert scaled.solver.lr == 0.01
    assert scaled.solver.max_iter == 180_000
    assert scaled.solver.milestones == (120_000, 160_000)
    assert scaled.solver.warmup_iters == 2000
    assert scaled.evaluation.period == scaled.checkpoint.period == 10_000


def test_detectron2s_one_gpu_example():
    """GETTING_STARTED.md of detectron2: batch 2 goes with rate 0.0025."""
    scaled = scale_to_batch(Config(), world_size=1)
    assert scaled.solver.batch_size == 2
    assert scaled.solver.lr == pytest.approx(0.0025)
    assert scaled.solver.max_iter == 720_000


def test_every_scaled_key_is_reported(caplog):
    caplog.set_level(logging.INFO)
    scale_to_batch(Config(), world_size=1)
    assert len(caplog.messages) == 6
    assert "solver.lr: 0.02 -> 0.0025 (batch size x 0.125)" in caplog.messages


@pytest.mark.parametrize(
    "override", ["solver.max_iter=4", " solver.max_iter = 4", "solver={max_iter: 4}"]
)
def test_what_the_command_line_says_is_literal(override):
    solver = {"max_iter": 4, "warmup_iters": 0}
    cfg = Config.model_validate({"solver": solver, "overrides": [override]})
    scaled = scale_to_batch(cfg, world_size=1)
    assert scaled.solver.max_iter == 4
    assert scaled.solver.milestones == (480_000, 640_000)


def test_scaling_again_changes_nothing():
    once = scale_to_batch(Config(), world_size=4)
    assert once.solver.batch_size == 8
    assert scale_to_batch(once, world_size=2) == once


def test_nothing_is_scaled_where_that_is_not_wanted_or_needed():
    cfg = Config.model_validate({"solver": {"batch_size": 8, "scale": False}})
    assert scale_to_batch(cfg, 1) == cfg
    same = scale_to_batch(Config.model_validate({"solver": {"batch_size": 16}}), 8)
    assert same.solver.lr == 0.02 and same.solver.max_iter == 90_000


def test_zero_periods_stay_zero_and_tiny_ones_stay_positive():
    solver = {"batch_size": 1600, "max_iter": 90, "milestones": [60, 61, 80], "warmup_iters": 0}
    cfg = Config.model_validate({"solver": solver, "evaluation": {"period": 0}})
    scaled = scale_to_batch(cfg, 1)
    assert scaled.evaluation.period == scaled.solver.warmup_iters == 0
    assert scaled.solver.max_iter == 1
    assert scaled.solver.milestones == (1, 2, 3)


@pytest.mark.parametrize("ranks, accumulate, expected", [(1, 1, 2), (8, 1, 16), (2, 4, 16)])
def test_the_default_is_two_images_per_rank_and_pass(ranks, accumulate, expected):
    cfg = Config.model_validate({"solver": {"accumulate": accumulate}})
    assert scale_to_batch(cfg, ranks).solver.batch_size == expected


def test_a_batch_that_cannot_be_shared_is_refused():
    cfg = Config.model_validate({"solver": {"batch_size": 6, "accumulate": 2}})
    with pytest.raises(ConfigError, match="batch_size is 6, expected a multiple of 4: 2 ranks"):
        scale_to_batch(cfg, 2)


def test_the_steps_at_which_images_grow_are_scaled_too():
    data = {"progressive": [(0, 128), (1000, 192)]}
    cfg = ClassificationConfig.model_validate({"data": data, "solver": {"batch_size": 128}})
    solver = cfg.solver.model_copy(update={"reference_batch_size": 256})
    scaled = scale_to_batch(cfg.model_copy(update={"solver": solver}), world_size=1)
    assert scaled.data.progressive == ((0, 128), (2000, 192))


def test_a_cosine_ends_at_the_least_rate():
    solver = SolverConfig(lr=2.0, min_lr=0.5, schedule="cosine", max_iter=100, warmup_iters=0)
    found = [learning_rate(solver, step) for step in (0, 50, 100)]
    assert found == pytest.approx([2.0, 1.25, 0.5])


def test_a_plateau_multiplies_the_rate_up_to_a_number_of_times():
    solver = SolverConfig(lr=1.0, schedule="plateau", plateau_patience=2, plateau_drops=2)
    solver = solver.model_copy(update={"warmup_iters": 0})
    still = [0.5] * 20
    rates = [learning_rate(solver, 9, history=still[:count]) for count in (0, 2, 3, 5, 9)]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.01])


def test_warm_up_may_last_until_the_training_error_has_fallen():
    solver = SolverConfig(lr=1.0, warmup_until_error=0.8, warmup_factor=0.1, milestones=(4,))
    assert learning_rate(solver, 2, warm=False) == pytest.approx(0.1)
    assert learning_rate(solver, 2, warm=True) == pytest.approx(1.0)
    assert learning_rate(solver, 4, warm=False) == pytest.approx(0.01)


def test_steps_at_which_images_grow_stay_apart():
    data = {"progressive": [(0, 128), (10, 160), (12, 192)]}
    cfg = ClassificationConfig.model_validate({"data": data, "solver": {"batch_size": 256_000}})
    assert scale_to_batch(cfg, world_size=1).data.progressive == ((0, 128), (1, 160), (2, 192))


# --- the length of a run ---


def lengths(cfg):
    solver = cfg.solver
    return solver.max_iter, solver.milestones, solver.warmup_iters


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        # 90,000 steps with drops at 2/3 and 8/9; 1000 / 90 steps of warm-up.
        ("coco_frcnn_r50", [], (1000, (667, 889), 11)),
        ("coco_frcnn_r50", ["solver.batch_size=32"], (1000, (667, 889), 11)),
        ("coco_frcnn_r50", ["solver.warmup_iters=100"], (1000, (667, 889), 100)),
        ("coco_frcnn_r50", ["solver.milestones=[900]"], (1000, (900,), 11)),
        # The warm-up of detectron2's 3x schedule is as long as that of 1x.
        ("coco_frcnn_r50_3x", [], (1000, (778, 926), 4)),
        ("cifar10_r20", [], (1000, (500, 750), 0)),
        ("coco_frcnn_r50", ["solver.scale=false"], (1000, (667, 889), 11)),
    ],
)
def test_a_schedule_is_fitted_to_the_length_on_the_command_line(name, overrides, expected):
    cfg = scale_to_batch(load_any_config(name, ["solver.max_iter=1000", *overrides]), 1)
    assert lengths(cfg) == expected
    rates = [learning_rate(cfg.solver, step) for step in range(1000)]
    assert max(rates) == cfg.solver.lr and min(rates[100:]) < 0.2 * cfg.solver.lr


def test_a_schedule_that_is_not_scaled_to_the_batch_is_fitted_to_the_length_too():
    cfg = scale_to_batch(load_any_config("quickstart", ["solver.max_iter=330"]), 1)
    assert (cfg.solver.warmup_iters, cfg.solver.lr) == (25, 2e-3)  # 50 of 660 steps
    assert scale_to_batch(cfg, 1) == cfg


def test_a_longer_run_drops_later_and_warms_up_no_longer():
    cfg = load_any_config("coco_frcnn_r50", ["solver.max_iter=180000", "solver.batch_size=16"])
    assert lengths(scale_to_batch(cfg, 1)) == (180_000, (120_000, 160_000), 1000)


def test_growing_images_are_fitted_too():
    cfg = load_any_config("imagenet_r50_fast", ["solver.max_iter=100"])
    steps = [step for step, _ in cfg.data.progressive]
    fitted = scale_to_batch(cfg, 1)
    assert [step for step, _ in fitted.data.progressive] == [
        round(step * 100 / cfg.solver.reference_max_iter) for step in steps
    ]


@pytest.mark.parametrize(
    ("name", "overrides", "images", "expected"),
    [
        # 12 epochs of COCO are 703,596 pairs; detectron2's 1x is 720,000.
        ("coco_frcnn_r50", ["solver.epochs=12"], 117_266, (703_596, (469_064, 625_419), 7818)),
        ("coco_frcnn_r50", ["solver.epochs=12"], 500, (3000, (2000, 2667), 33)),
        ("coco_frcnn_r50", ["solver.epochs=0.5", "solver.batch_size=16"], 33, (2, (1, 2), 1)),
        ("cifar10_r20", ["solver.epochs=10"], 50_000, (3907, (1954, 2930), 0)),
        ("quickstart", ["solver.epochs=10"], 401, (502, (60_000, 80_000), 38)),  # not scaled
    ],
)
def test_epochs_are_passes_over_the_images(name, overrides, images, expected, caplog):
    caplog.set_level(logging.INFO)
    waiting = scale_to_batch(load_any_config(name, overrides), 1)
    cfg = settle_epochs(waiting, images)
    assert lengths(cfg) == expected
    assert cfg.solver.epochs is None and cfg.solver.reference_max_iter is None
    assert f"of {images:,} images are {expected[0]:,} steps" in caplog.text
    assert scale_to_batch(cfg, 1) == settle_epochs(cfg, images) == cfg


def fitting(**sections):
    solver = {"max_iter": 100, "milestones": [60, 80], "warmup_iters": 10}
    solver |= sections.pop("solver", {})
    tree = {"solver": solver, "evaluation": {"period": 20}, "checkpoint": {"period": 20}}
    return Config.model_validate(tree | sections)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"solver": {"milestones": [60, 100, 120]}}, "does not reach 100, 120: the learning rate"),
        ({"solver": {"milestones": [5, 80]}}, "5 is before the warm-up of 10 steps"),
        ({"solver": {"schedule": "plateau"}}, "no more evaluations than 5 .*the learning rate ne"),
        ({"evaluation": {"period": 20, "patience": 5}}, "no more evaluations than 5 .*stop early"),
        ({"evaluation": {"period": 101}}, "evaluation.period is 101, but the run has 100 steps"),
        (
            {"checkpoint": {"period": 101}, "evaluation": {"period": 0}},
            "checkpoint.period is 101, but the run has 100 steps",
        ),
    ],
)
def test_what_does_not_fit_the_run_is_said(sections, sentence, caplog):
    assert misfits(fitting()) == []
    cfg = fitting(**sections)
    (found,) = misfits(cfg)
    assert re.search(sentence, found)
    scale_to_batch(cfg, 8)
    assert found in caplog.messages


@pytest.mark.parametrize("warmup", [100, 101])
def test_a_warm_up_that_is_as_long_as_the_run_is_refused(warmup):
    cfg = fitting(solver={"warmup_iters": warmup, "milestones": [], "batch_size": 16})
    with pytest.raises(ConfigError, match=f"warmup_iters is {warmup}, .* to less than 100"):
        scale_to_batch(cfg, 1)
    scale_to_batch(fitting(solver={"warmup_iters": 99, "batch_size": 16}), 1)


@pytest.mark.parametrize(
    ("steps", "times", "period"), [(100, 10, 10), (101, 10, 11), (3, 10, 1), (7, 1, 7)]
)
def test_evaluations_are_spaced_evenly(steps, times, period):
    """The last one is at the end, whatever the period."""
    solver = {"max_iter": steps, "warmup_iters": 0, "milestones": [], "batch_size": 16}
    cfg = Config.model_validate({"solver": solver, "evaluation": {"times": times}})
    scaled = scale_to_batch(cfg, 1)
    assert scaled.evaluation.period == period and scaled.evaluation.times == times
    assert scale_to_batch(scaled, 1) == scaled
    waiting = Config.model_validate(
        {"solver": solver | {"epochs": 2.0}, "evaluation": {"times": times}}
    )
    settled = settle_epochs(scale_to_batch(waiting, 1), 8 * steps)  # as many steps
    assert settled.evaluation.period == period


@pytest.mark.parametrize(("images", "steps"), [(20, 250), (60, 250), (83, 250), (85, 255)])
def test_few_images_are_shown_often(images, steps):
    """1,000 images in all, but at least 12 epochs."""
    solver = {"epochs": "auto", "batch_size": 4}
    cfg = settle_epochs(scale_to_batch(Config.model_validate({"solver": solver}), 1), images)
    assert cfg.solver.max_iter == steps


@pytest.mark.parametrize(
    "solver",
    [
        {"schedule": "cosine", "milestones": [500]},
        {"warmup_iters": 0, "milestones": []},
        {"warmup_iters": 500, "warmup_until_error": 0.8},
        {"schedule": "plateau", "plateau_patience": 4},
    ],
)
def test_what_has_no_effect_need_not_fit(solver):
    assert misfits(fitting(solver=solver)) == []


def test_another_batch_without_scaling_is_said(caplog):
    caplog.set_level("WARNING", "resnet_backbone")  # whatever earlier tests have set
    scale_to_batch(load_any_config("quickstart", ["solver.batch_size=2"]), 1)
    assert "those for batches of 8 images, but the batches have 2" in caplog.text
    caplog.clear()
    scale_to_batch(load_any_config("quickstart", ["solver.batch_size=2", "solver.lr=1e-3"]), 1)
    scale_to_batch(load_any_config("coco_frcnn_r50", ["solver.batch_size=2"]), 1)
    assert caplog.text == ""
