"""What both tasks' configurations share."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.run_schema import (
    CheckpointConfig,
    JudgingConfig,
    PixelConfig,
    RunConfig,
    Section,
    SolverConfig,
)
from resnet_backbone.config.schema import Config
from resnet_backbone.utils.trees import leaves

RUNS = [Config, ClassificationConfig]


def sections_of(section):
    """A section and all that lie in it."""
    yield section
    for name in type(section).model_fields:
        if isinstance(value := getattr(section, name), BaseModel):
            yield from sections_of(value)


SECTIONS = {type(section).__name__: section for run in RUNS for section in sections_of(run())}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_sections_are_closed_and_frozen(section):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, next(iter(type(section).model_fields)), 1)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(section)(**section.model_dump(), no_such_key=1)


@pytest.mark.parametrize("run", RUNS)
def test_defaults_are_checked_too_and_survive_json(run):
    assert run.model_validate_json(run().model_dump_json()) == run()
    assert run.model_validate(run().model_dump(), strict=True) == run()

    class Broken(Section):
        rate: float = "x"

    with pytest.raises(ValidationError, match="valid number"):
        Broken()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_nan_or_infinite(run, value):
    numbers = [key for key, found in leaves(run().model_dump()) if isinstance(found, float)]
    assert len(numbers) > 10
    for key in numbers:
        tree = run().model_dump()
        *above, last = key.split(".")
        section = tree
        for name in above:
            section = section[name]
        section[last] = value
        with pytest.raises(ValidationError) as caught:
            run.model_validate(tree)
        assert all(".".join(map(str, each["loc"])) == key for each in caught.value.errors())


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("lr", (1e-9, 5), (0, -0.1)),
        ("momentum", (0, 1), (-0.1, 1.1)),
        ("weight_decay", (0, 1e-4), (-1e-4,)),
        ("weight_decay_norm", (0,), (-1e-4,)),
        ("weight_decay_bias", (None, 0), (-1e-4,)),
        ("batch_size", (None, 1), (0,)),
        ("reference_batch_size", (1,), (0, None)),
        ("max_iter", (1,), (0,)),
        ("gamma", (0, 1), (1.1,)),
        ("min_lr", (0,), (-1,)),
        ("plateau_patience", (1,), (0,)),
        ("plateau_threshold", (0,), (-1e-3,)),
        ("warmup_iters", (0,), (-1,)),
        ("warmup_factor", (0, 1), (1.1,)),
        ("warmup_until_error", (None, 0.8), (0, 1)),
        ("accumulate", (1,), (0,)),
        ("clip_grad_norm", (None, 0.1), (0,)),
        ("ema_decay", (None, 0.999), (0, 1)),
    ],
)
def test_numbers_of_the_solver_have_bounds(key, allowed, refused):
    for value in allowed:
        assert getattr(SolverConfig(**{key: value}), key) == value
    for value in refused:
        with pytest.raises(ValidationError, match=key):
            SolverConfig(**{key: value})


def test_a_checkpoint_is_never_the_only_one():
    """The newest may be damaged by what made the run stop."""
    assert CheckpointConfig(keep=2).keep == 2
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        CheckpointConfig(keep=1)
    with pytest.raises(ValidationError, match="greater than 0"):
        CheckpointConfig(period=0)


def test_judging_may_wait_for_the_end_but_has_patience_for_one_evaluation():
    assert JudgingConfig(period=0).period == 0
    with pytest.raises(ValidationError, match="greater than 0"):
        JudgingConfig(patience=0)


@given(st.lists(st.integers(0, 9), max_size=4).map(tuple))
def test_milestones_ascend(steps):
    if all(first < second for first, second in zip(steps, steps[1:], strict=False)):
        assert SolverConfig(milestones=steps).milestones == steps
    else:
        with pytest.raises(ValidationError, match=r"found \[.*\], expected ascending steps"):
            SolverConfig(milestones=steps)


def test_pixels_are_settled_when_nothing_is_left_to_the_weights():
    full = {"channel_order": "BGR", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)}
    assert PixelConfig(**full).settled() == ("BGR", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert PixelConfig(**full).settled().channel_order == "BGR"
    for key in full:
        with pytest.raises(ValueError, match="settle the configuration first"):
            PixelConfig(**full | {key: None}).settled()


def test_a_deviation_is_divided_by_and_so_never_zero():
    with pytest.raises(ValidationError, match="greater than 0"):
        PixelConfig(std=(1.0, 0.0, 1.0))
    assert PixelConfig(mean=(0.0, -1.0, 300.0)).mean == (0.0, -1.0, 300.0)
    with pytest.raises(ValidationError, match="finite number"):
        PixelConfig(mean=(0.0, math.nan, 0.0))


def test_the_norm_is_said_by_the_task():
    assert Config().norm == "FrozenBN" and ClassificationConfig().norm == "BN"
    with pytest.raises(NotImplementedError):
        _ = RunConfig(task="other").norm


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/eve")
    split = {"images": "~/i", "annotations": "~/a.json"}
    cfg = Config(output="~/runs", data={"root": "~", "train": split, "val": split})
    assert (cfg.output, cfg.data.root) == ("/home/eve/runs", "/home/eve")
    for found in (cfg.data.train, cfg.data.val):
        assert (found.images, found.annotations) == ("/home/eve/i", "/home/eve/a.json")
    data = {"root": "~/i", "train": ("~/t", "t~"), "val": ("~/v",), "val_labels": "~/l.txt"}
    labelled = ClassificationConfig(data=data, model={"mean_image": "~/m.safetensors"})
    assert labelled.data.train == ("/home/eve/t", "t~") and labelled.data.val == ("/home/eve/v",)
    assert labelled.data.val_labels == "/home/eve/l.txt"
    assert labelled.model.mean_image == "/home/eve/m.safetensors"
    assert Config(output="~nobody-of-this-name/x").output == "~nobody-of-this-name/x"
