import errno
import logging
import os

import pytest
import torch
from tiny_state import advance, make_state

from resnet_backbone.engine.checkpoint import Checkpoints, step_folders
from resnet_backbone.errors import DivergedError, StorageError


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path, keep=2)
    made.prepare()
    return made


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
            with pytest.raises(StorageError, match="damaged, all of 1 checkpoint"):
                checkpoints.newest()
        path.write_bytes(content)
    assert checkpoints.newest().folder == folder


def test_no_checkpoint_is_none_and_only_damaged_ones_are_an_error(checkpoints):
    assert checkpoints.newest() is None
    checkpoints.save(make_state(1), {})
    (checkpoints.folder / "step_00000001" / "MANIFEST.json").unlink()
    with pytest.raises(StorageError, match="damaged, all of 1 checkpoint.*--overwrite"):
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
    assert (
        "step_00000001 is kept, since it contains files we did not write: ['notes.txt']"
        in caplog.text
    )


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
    with pytest.raises(StorageError, match="cannot be written: .*No space left"):
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
    assert "left by an interrupted run" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError, match="cannot be prepared"):
        Checkpoints(tmp_path, keep=2).prepare()
