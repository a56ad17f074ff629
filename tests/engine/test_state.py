"""What training changes, and its way into files and back."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from tiny_state import advance, everything, make_state
from torch import nn

from resnet_backbone.config.run_schema import SolverConfig
from resnet_backbone.engine.checkpoint import Checkpoints
from resnet_backbone.engine.optimizer import build_optimizer
from resnet_backbone.engine.state import (
    AVERAGE_FILE,
    FILES,
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Progress,
    TrainState,
    read_state_record,
)
from resnet_backbone.errors import StorageError


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    made.prepare()
    return made


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_state_goes_on_as_the_saved_one(checkpoints, optimizer):
    state = make_state(optimizer=optimizer)
    advance(state, 3)
    state.progress.best, state.progress.window = 0.1 + 0.2, {"loss_cls": 1 / 3}
    checkpoints.save(state, {"config": {"a": 1}})
    saved = everything(state)

    other = make_state(seed=1, optimizer=optimizer)
    other.from_files(checkpoints.newest().files)
    for name, tensor in everything(other).items():
        assert torch.equal(tensor, saved[name]), name
    assert other.progress == state.progress
    assert other.scaler.get_scale() == state.scaler.get_scale()

    for one in (state, other):
        torch.manual_seed(5)
        advance(one, 3)
    for name, tensor in everything(other).items():
        assert torch.equal(tensor, everything(state)[name]), name


@pytest.mark.parametrize("count", [3, torch.tensor(3.0)])
def test_the_count_of_steps_of_a_group_is_restored_as_what_it_was(checkpoints, count):
    """timm's LAMB counted with an integer up to 1.0.9, and counts with a tensor now."""
    state, other = make_state(), make_state()
    advance(state)
    state.optimizer.param_groups[0]["step"] = count
    checkpoints.save(state, {})
    other.from_files(checkpoints.newest().files)
    restored = other.optimizer.param_groups[0]["step"]
    assert type(restored) is type(count) and restored == 3


def test_restored_momentum_lies_in_memory_like_its_parameter(checkpoints):
    state = make_state()
    advance(state)
    checkpoints.save(state, {})
    other = make_state()
    other.from_files(checkpoints.newest().files)
    weight = other.model[0].weight
    assert weight.stride() == other.optimizer.state[weight]["momentum_buffer"].stride()
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_another_model_is_refused_with_the_names(checkpoints):
    state = make_state()
    checkpoints.save(state, {})
    other = make_state()
    other.model.append(nn.Linear(1, 1))
    with pytest.raises(StorageError, match="another model, as 2 tensors show: 3.bias, 3.weight"):
        other.from_files(checkpoints.newest().files)
    other = make_state()
    other.model[2] = nn.Conv2d(4, 5, 1)
    with pytest.raises(
        StorageError, match=r"2.weight has shape \[2, 4, 1, 1\], expected \[5, 4, 1, 1\]"
    ):
        other.from_files(checkpoints.newest().files)


def files_of(state, about=None):
    return dict(state.to_files(about or {}))


# --- files ---


def test_files_hold_everything_by_the_names_of_the_parameters():
    state = make_state()
    advance(state)
    files = files_of(state, {"seed": 5})
    assert set(files) == set(FILES)
    assert (
        set(load(files[MODEL_FILE]))
        == set(state.model.state_dict())
        == set(load(files[AVERAGE_FILE]))
    )
    slots = {f"momentum_buffer/{name}" for name, _ in state.model.named_parameters()}
    assert set(load(files[OPTIMIZER_FILE])) == slots
    record = json.loads(files[STATE_FILE])
    assert record == read_state_record(files)
    assert record["about"] == {"seed": 5} and record["progress"]["step"] == 1


def test_equal_states_make_equal_bytes():
    states = [make_state(seed=3) for _ in range(2)]
    for state in states:
        torch.manual_seed(1)
        advance(state, 2)
    assert files_of(states[0]) == files_of(states[1])


def test_tensors_are_those_of_the_model_and_not_copies():
    state = make_state()
    weights = state.tensors()[MODEL_FILE]
    with torch.no_grad():
        state.model[0].weight.fill_(7)
    assert (weights["0.weight"] == 7).all()


def test_without_an_average_there_is_no_file_of_it():
    state = make_state()
    state.average = None
    files = files_of(state)
    assert AVERAGE_FILE not in files
    with pytest.raises(StorageError, match=f"KeyError: '{AVERAGE_FILE}'"):
        make_state(seed=1).from_files(files)


def test_a_slot_of_a_parameter_that_is_not_there_is_refused():
    state = make_state()
    advance(state)
    files = files_of(state)
    other = make_state()
    files[OPTIMIZER_FILE] = files[OPTIMIZER_FILE].replace(b"/2.bias", b"/9.bias")
    with pytest.raises(
        StorageError, match=r"optimizer\.safetensors: the model has no parameter '9"
    ):
        other.from_files(files)


def test_many_tensors_that_do_not_fit_are_counted_and_the_first_named():
    state = make_state()
    other = make_state()
    other.model.extend([nn.Linear(1, 1) for _ in range(4)])
    expected = r"8 tensors show: 3\.bias, 3\.weight, 4\.bias, 4\.weight, 5\.bias$"
    with pytest.raises(StorageError, match=expected):
        other.from_files(files_of(state))


def test_lambs_count_of_steps_is_restored():
    """It counts once for all parameters of a group, not in a parameter's own state."""
    pytest.importorskip("timm.optim", reason="LAMB is timm's")

    def made():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        solver = SolverConfig(optimizer="lamb", lr=0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        return TrainState(model, build_optimizer(model, solver), scaler, None)

    def step(state):
        state.optimizer.zero_grad()
        state.model(torch.ones(2, 3, 5, 4)).square().sum().backward()
        state.optimizer.step()

    one, other = made(), made()
    for _ in range(3):
        step(one)
    other.from_files(files_of(one))
    for state in (one, other):
        step(state)
    assert len(one.optimizer.param_groups) == 2
    for group in other.optimizer.param_groups:
        assert int(group["step"]) == 4
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_numbers_of_progress_come_back_exactly():
    state, other = make_state(), make_state()
    state.progress = Progress(
        step=7,
        best=0.1 + 0.2,
        best_step=5,
        without_improvement=2,
        evaluation_pending=True,
        history=[-1 / 3, 0.0, 1e-300],
        warm=True,
        window={"loss_cls": 1 / 3},
        window_steps=3,
    )
    other.from_files(files_of(state))
    assert other.progress == state.progress


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_size_is_known_before_the_first_step(optimizer):
    """What is not tensors, and their headers, come on top."""
    state = make_state(optimizer=optimizer)
    before = state.size()
    advance(state)
    stored = sum(len(content) for content in files_of(state).values())
    steps = 4 * len(list(state.model.parameters())) if optimizer == "adamw" else 0
    assert before == state.size() - steps  # AdamW's counts are four bytes each
    assert state.size() < stored < state.size() + 10_000


# --- progress ---


@given(
    st.lists(st.none() | st.floats(-5, 5), max_size=12),
    st.booleans(),
)
def test_the_best_is_the_first_of_the_best_and_what_follows_is_counted(scores, lower):
    progress = Progress()
    found = []
    for number, score in enumerate(scores, start=1):
        progress.step = 10 * number
        found.append(progress.judge(score, lower_is_better=lower))
    known = [score for score in scores if score is not None]
    best = None if not known else min(known) if lower else max(known)
    assert progress.best == best
    if best is None:
        assert progress.best_step is None and not any(found)
        assert progress.without_improvement == len(scores)
    else:
        assert progress.best_step == 10 * (scores.index(best) + 1)
        assert progress.without_improvement == len(scores) - scores.index(best) - 1
        assert found[scores.index(best)] and not any(found[scores.index(best) + 1 :])
    # In what a plateau is seen, smaller is better.
    assert progress.history == [score if lower else -score for score in known]


def test_an_equal_result_is_no_better_one():
    progress = Progress()
    assert progress.judge(0.5, lower_is_better=False)
    assert not progress.judge(0.5, lower_is_better=False)
    assert progress.judge(math.nextafter(0.5, 1), lower_is_better=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": "x"}, "about: Input should be an object"),
        ({"scaler": None}, "scaler: Input should be an object"),
        ({"progress": {"step": "5"}}, "progress.step: Input should be a valid integer"),
        ({"progress": {"step": -1}}, "progress.step: Input should be greater than or equal to 0"),
        ({"progress": {"step": 10**400}}, "progress.step: Input should be"),
        ({"progress": {"window_steps": -1}}, "progress.window_steps: Input should be greater"),
        ({"progress": {"history": ["x"]}}, "progress.history.0: Input should be a valid number"),
        ({"progress": {"window": {"a": None}}}, "progress.window.a: Input should be"),
    ],
)
def test_a_record_that_nobody_wrote_is_refused(change, message):
    record = {"about": {}, "progress": {}, "scaler": {}}
    assert read_state_record({STATE_FILE: json.dumps(record).encode()}) == record
    with pytest.raises(StorageError, match=f"{STATE_FILE}: {message}"):
        read_state_record({STATE_FILE: json.dumps(record | change).encode()})


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b"NaN"])
def test_a_record_that_is_none_is_refused(content):
    with pytest.raises(StorageError, match=f"{STATE_FILE}: the file: "):
        read_state_record({STATE_FILE: content})


@pytest.mark.parametrize("name", [MODEL_FILE, OPTIMIZER_FILE, AVERAGE_FILE])
@pytest.mark.parametrize("content", [None, b"", b"x" * 200])
def test_without_one_of_its_files_a_state_is_refused(name, content):
    state = make_state()
    advance(state)
    files = files_of(state, {}) | {name: content}
    if content is None:
        del files[name]
    with pytest.raises(StorageError, match="the checkpoint does not fit this run: "):
        make_state().from_files(files)
