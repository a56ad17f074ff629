import importlib.metadata
import logging
import os
import resource
import signal
import stat
import time
from contextlib import ExitStack

import pytest
import yaml

from resnet_backbone.config.load import load_config
from resnet_backbone.config.schema import Config
from resnet_backbone.engine import run_folder
from resnet_backbone.engine.run_folder import (
    check_space,
    open_folder,
    write_description,
)
from resnet_backbone.engine.state import FILES
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils import storage
from resnet_backbone.utils.folder_lock import LOCK, locked
from resnet_backbone.utils.own_files import OwnFiles


def enter(output, *, resume=False, overwrite=False):
    with ExitStack() as stack:
        open_folder(stack, output, resume=resume, overwrite=overwrite)


def write_run(output, names=("config.yaml", "metrics.jsonl")):
    """Files as a run leaves them, on the list of its own."""
    OwnFiles(output, "run").claim(names)
    for name in names:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("x")


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_is_made_with_its_parents_and_removed_if_nothing_is_written(tmp_path):
    with ExitStack() as stack:
        open_folder(stack, tmp_path / "a" / "b", resume=False, overwrite=False)
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["config.yaml", "checkpoints/step_00000001/state.json", "pictures/7.jpg"]
)
def test_a_folder_with_another_run_needs_a_decision(tmp_path, name):
    write_run(tmp_path, [name])
    with pytest.raises(StorageError, match=f"another run .{name}.*--resume.*--overwrite"):
        enter(tmp_path)
    enter(tmp_path, resume=True)


def test_both_decisions_at_once_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--resume and --overwrite exclude each other"):
        enter(tmp_path, resume=True, overwrite=True)


OTHERS = ("thesis.txt", "pictures/holiday.jpg", "tensorboard/notes", "checkpoints/step_2/x")


def test_unrelated_files_are_no_run_and_are_never_removed(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in OTHERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    enter(tmp_path)
    enter(tmp_path, overwrite=True)
    run_folder.discard(tmp_path)
    assert files_in(tmp_path) == set(OTHERS)
    kept = "checkpoints/step_2, pictures/holiday.jpg, tensorboard/notes, thesis.txt"
    assert caplog.messages == [f"{tmp_path}: kept what no run of ours wrote: {kept}"]


def test_discarding_removes_listed_files_and_no_others(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_run(
        tmp_path,
        [
            *("config.yaml", "metrics.jsonl", "model.safetensors", "pictures/12.jpg"),
            *(f"checkpoints/step_00000001/{name}" for name in (*FILES, "MANIFEST.json")),
            *("best/step_00000001/model.safetensors", "tensorboard/events.out.tfevents.1"),
        ],
    )
    before = files_in(tmp_path)
    for name in OTHERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    enter(tmp_path, overwrite=True)
    assert files_in(tmp_path) == before | set(OTHERS)  # the new run may yet fail to start
    run_folder.discard(tmp_path)
    assert files_in(tmp_path) == set(OTHERS)
    assert not (tmp_path / "best").exists()
    assert "removed the earlier run" in caplog.text and "pictures/holiday.jpg" in caplog.text


@pytest.mark.parametrize("decision", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize(
    "name",
    # The last two are folders of a run.
    ["config.yaml", "log.txt", "model.safetensors", "curves.png", "pictures", "checkpoints"],
)
def test_what_a_run_would_replace_must_be_of_a_run(tmp_path, name, decision):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StorageError, match=f"contains {name}, which this run would replace"):
        enter(tmp_path, **decision)
    assert files_in(tmp_path) == {name}


def test_a_pipe_in_the_place_of_a_file_is_refused_rather_than_waited_for(tmp_path):
    write_run(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(StorageError, match=r"contains metrics\.jsonl"):
        enter(tmp_path, resume=True)


def test_a_copy_without_the_hidden_list_is_continued_but_not_removed(tmp_path):
    storage.make_folder(tmp_path / "checkpoints")
    storage.commit_folder(tmp_path / "checkpoints" / "step_00000004", [("state.json", b"{}")])
    (tmp_path / "config.yaml").write_text("x")
    with pytest.raises(StorageError, match=r"config\.yaml, checkpoints/step_00000004"):
        enter(tmp_path, overwrite=True)
    enter(tmp_path, resume=True)
    with pytest.raises(StorageError, match="holds another run"):
        enter(tmp_path)


def test_a_file_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(StorageError, match="x.*cannot be written"):
        enter(tmp_path / "x")
    with pytest.raises(StorageError, match="cannot be written"):
        enter(tmp_path / "x" / "y")


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # whom permissions do not stop

        def refuse(path, content):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(storage, "_write_flushed", refuse)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StorageError, match="cannot be written.*Permission denied"):
            enter(tmp_path)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_folder_that_accepts_no_bytes_is_refused(tmp_path):
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, former[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written: .*too large"):
            enter(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_cannot_share_a_folder(tmp_path):
    with locked(tmp_path):
        with pytest.raises(StorageError, match="another process is using this folder"):
            enter(tmp_path, resume=True)
    enter(tmp_path, resume=True)


def test_a_child_that_outlives_a_run_does_not_keep_the_lock(tmp_path):
    ready, tell = os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(tell, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 1)  # the child has been scheduled, and has let go
    try:
        enter(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_failed_start_lets_go_of_the_lock(tmp_path):
    write_run(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageError, match="holds another run"):
            enter(tmp_path)


def test_too_little_space_is_told_in_numbers(tmp_path):
    with pytest.raises(
        StorageError, match="two checkpoints need 1000000000.00 GB, but only .* are free"
    ):
        check_space(tmp_path, 10**18)
    check_space(tmp_path, 1)


def test_a_run_describes_itself(tmp_path):
    cfg = Config(seed=5, output=str(tmp_path))
    write_description(tmp_path, cfg, 2)
    assert load_config(tmp_path / "config.yaml") == cfg
    environment = yaml.safe_load((tmp_path / "environment.json").read_text())
    assert environment["ranks"] == 2
    assert set(environment["packages"]) >= {"torch", "torchvision"}


def test_a_checkout_that_is_not_installed_describes_itself(tmp_path, monkeypatch):
    def version(name):
        if name == "resnet-backbone":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(importlib.metadata, "version", version)
    write_description(tmp_path, Config(output=str(tmp_path)), 1)
    environment = yaml.safe_load((tmp_path / "environment.json").read_text())
    assert environment["packages"]["resnet-backbone"] is None
    assert environment["packages"]["torch"] == "1.2"


def test_a_run_of_detectron2_is_not_taken_over(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(StorageError, match="continue it with --engine detectron2"):
        run_folder.claim(tmp_path, resume=True, overwrite=False)
    (tmp_path / "checkpoints").mkdir()
    run_folder.claim(tmp_path, resume=True, overwrite=False)
