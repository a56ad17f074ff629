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
    locked,
    open_folder,
    write_description,
)
from resnet_backbone.errors import ConfigError, StorageError


def enter(output, *, resume=False, overwrite=False):
    with ExitStack() as stack:
        open_folder(stack, output, resume=resume, overwrite=overwrite)


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    enter(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["config.yaml", "checkpoints", "metrics.jsonl", "pictures"])
def test_a_folder_with_another_run_needs_a_decision(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(StorageError, match=f"another run .{name}.*--resume.*--overwrite"):
        enter(tmp_path)
    enter(tmp_path, resume=True)


def test_both_decisions_at_once_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--resume and --overwrite exclude each other"):
        enter(tmp_path, resume=True, overwrite=True)


def test_unrelated_files_do_not_matter(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    enter(tmp_path)


def test_discarding_removes_our_files_and_no_others(tmp_path):
    ours = [
        "config.yaml",
        "metrics.jsonl",
        "model.safetensors",
        "checkpoints/step_00000001/state.json",
        "checkpoints/step_00000001/MANIFEST.json",
        "best/step_00000001/model.safetensors",
        "tensorboard/events.out.tfevents.1",
        "pictures/12.jpg",
    ]
    foreign = ["thesis.tex", "checkpoints/step_2/x", "pictures/me.png", "tensorboard/notes"]
    for name in ours + foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    enter(tmp_path, overwrite=True)
    assert all((tmp_path / name).exists() for name in ours)  # the new run may not come to begin
    run_folder.discard(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*foreign, ".lock"}


def test_a_file_in_the_way_is_a_storage_error(tmp_path):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(StorageError, match="x.*cannot be written"):
        enter(tmp_path / "x")
    with pytest.raises(StorageError, match="cannot be written"):
        enter(tmp_path / "x" / "y")


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # whom permissions do not stop

        def refuse(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(run_folder, "_probe", refuse)
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
        with pytest.raises(StorageError, match="another process is training here"):
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
    (tmp_path / "config.yaml").write_text("")
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


def test_a_run_of_detectron2_is_not_taken_over(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(StorageError, match="continue it with --engine detectron2"):
        run_folder.claim(tmp_path, resume=True, overwrite=False)
    (tmp_path / "checkpoints").mkdir()
    run_folder.claim(tmp_path, resume=True, overwrite=False)
