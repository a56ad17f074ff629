import errno
import logging
import os

import pytest
import torch
from torch import nn

from resnet_backbone.engine.checkpoint import Checkpoints, step_folders
from resnet_backbone.engine.optimizer import AveragedWeights
from resnet_backbone.engine.state import TrainState
from resnet_backbone.errors import DivergedError, StorageError


def make_state(step=0, seed=0, optimizer="sgd"):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model.to(memory_format=torch.channels_last)
    if optimizer == "sgd":
        made = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    else:
        made = torch.optim.AdamW(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=8.0)
    state = TrainState(model, made, scaler, AveragedWeights(model, 0.9))
    state.progress.step = step
    return state


def advance(state, steps=1):
    for _ in range(steps):
        state.optimizer.zero_grad()
        loss = state.model(torch.randn(2, 3, 5, 5)).square().mean()
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.average.update(state.model)
        state.progress.step += 1


def everything(state):
    return {
        f"{file}: {name}": tensor.clone()
        for file, tensors in state.tensors().items()
        for name, tensor in tensors.items()
    }


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    made.prepare()
    return made


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
    with pytest.raises(StorageError, match="another model; 2 tensors do not fit: 3.bias, 3.weight"):
        other.from_files(checkpoints.newest().files)
    other = make_state()
    other.model[2] = nn.Conv2d(4, 5, 1)
    with pytest.raises(StorageError, match=r"2.weight \[2, 4, 1, 1\] instead of \[5, 4, 1, 1\]"):
        other.from_files(checkpoints.newest().files)


def test_the_newest_stay_and_at_least_as_many_as_asked_for(checkpoints):
    for step in (1, 2, 3, 4):
        checkpoints.save(make_state(step), {})
    assert names(checkpoints.folder) == ["step_00000003", "step_00000004"]


def test_damaged_ones_do_not_count_as_kept(checkpoints):
    for step in (1, 2):
        checkpoints.save(make_state(step), {})
    (checkpoints.folder / "step_00000002" / "state.json").write_text("{}")
    checkpoints.save(make_state(3), {})
    assert len(step_folders(checkpoints.folder)) == 3
    assert checkpoints.newest().folder.name == "step_00000003"
    (checkpoints.folder / "step_00000003" / "state.json").unlink()
    assert checkpoints.newest().folder.name == "step_00000001"


def test_a_damaged_one_is_skipped_by_name(checkpoints, caplog):
    for step in (1, 2):
        checkpoints.save(make_state(step), {})
    model = checkpoints.folder / "step_00000002" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    assert checkpoints.newest().folder.name == "step_00000001"
    assert "step_00000002/model.safetensors: damaged" in caplog.text


def test_every_sampled_bit_flip_is_noticed(checkpoints):
    state = make_state()
    advance(state)
    checkpoints.save(state, {})
    folder = checkpoints.newest().folder
    generator = torch.Generator().manual_seed(3)
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in torch.randint(0, 8 * len(content), (60,), generator=generator).tolist():
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            with pytest.raises(StorageError, match="none of the 1 checkpoints is intact"):
                checkpoints.newest()
        path.write_bytes(content)
    assert checkpoints.newest().folder == folder


def test_no_checkpoint_is_none_and_only_damaged_ones_are_an_error(checkpoints):
    assert checkpoints.newest() is None
    checkpoints.save(make_state(1), {})
    (checkpoints.folder / "step_00000001" / "MANIFEST.json").unlink()
    with pytest.raises(StorageError, match="none of the 1 checkpoints is intact.*--overwrite"):
        checkpoints.newest()


def test_a_damaged_one_of_the_same_step_makes_room(checkpoints, caplog):
    checkpoints.save(make_state(1), {})
    (checkpoints.folder / "step_00000001" / "MANIFEST.json").unlink()
    checkpoints.save(make_state(1), {})
    assert checkpoints.newest().folder.name == "step_00000001"
    assert any(".damaged-" in name for name in names(checkpoints.folder))


def test_an_intact_one_of_the_same_step_is_not_written_again(checkpoints):
    checkpoints.save(make_state(1), {})
    before = (checkpoints.folder / "step_00000001").stat()
    checkpoints.save(make_state(1, seed=2), {})
    assert (checkpoints.folder / "step_00000001").stat().st_ino == before.st_ino


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["parameter", "buffer", "momentum", "average"])
def test_what_is_not_finite_never_becomes_a_checkpoint(checkpoints, where, value):
    state = make_state()
    advance(state)
    checkpoints.save(state, {})
    weight = state.model[0].weight
    {
        "parameter": weight.data,
        "buffer": state.model[1].running_mean,
        "momentum": state.optimizer.state[weight]["momentum_buffer"],
        "average": state.average.tensors["0.weight"],
    }[where].select(0, 0).fill_(value)
    state.progress.step = 2
    with pytest.raises(DivergedError, match="NaN or infinity in .*step_00000001"):
        checkpoints.save(state, {})
    assert names(checkpoints.folder) == ["step_00000001"]


def test_foreign_files_are_kept(checkpoints, caplog):
    foreign = ["notes.txt", "step_1", "step_00000001.bak", "model.safetensors"]
    for name in foreign:
        (checkpoints.folder / name).write_text("mine")
    checkpoints.save(make_state(1), {})
    (checkpoints.folder / "step_00000001" / "notes.txt").write_text("mine")
    for step in (2, 3, 4):
        checkpoints.save(make_state(step), {})
    kept = ["step_00000001", "step_00000003", "step_00000004"]
    assert names(checkpoints.folder) == sorted(foreign + kept)
    assert "step_00000001 is kept: it holds files we did not write: ['notes.txt']" in caplog.text


def test_the_best_is_kept_apart_and_replaced(checkpoints):
    metadata = {"config": "{}"}
    for step in (1, 5, 3):  # 3: a run resumed from before step 5 finds another best
        checkpoints.save_best(make_state(step).model.state_dict(), step, metadata)
        assert names(checkpoints.best_folder) == [f"step_{step:08d}"]
    broken = {"x": torch.tensor([float("nan")])}
    with pytest.raises(DivergedError):
        checkpoints.save_best(broken, 9, metadata)
    assert names(checkpoints.best_folder) == ["step_00000003"]


def test_a_full_disk_leaves_the_old_one_and_says_so(checkpoints, monkeypatch):
    checkpoints.save(make_state(1), {})
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="step_00000002: cannot be written: .*No space left"):
        checkpoints.save(make_state(2), {})
    monkeypatch.undo()
    assert calls and names(checkpoints.folder) == ["step_00000001"]
    assert checkpoints.newest().folder.name == "step_00000001"


def test_interrupted_saves_are_cleared_away(checkpoints, caplog):
    caplog.set_level(logging.INFO)
    stale = checkpoints.folder / f".tmp-{'a' * 32}"
    stale.mkdir()
    (stale / "model.safetensors").write_text("half")
    checkpoints.prepare()
    assert names(checkpoints.folder) == []
    assert "an interrupted run left" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError, match="cannot be prepared"):
        Checkpoints(tmp_path, keep=2).prepare()
