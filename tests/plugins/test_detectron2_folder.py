"""Which output folders detectron2's engine may write into; needs no detectron2."""

import pytest

from resnet_backbone.engine import run_folder
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.plugins.detectron2_folder import (
    claim_for_detectron2,
    event_files,
    list_events,
    list_files,
)
from resnet_backbone.utils.own_files import LIST, OwnFiles

THEIRS = (
    *("config.yaml", "log.txt", "metrics.json", "events.out.tfevents.1.host.2.0"),
    *("last_checkpoint", "model_0000001.pth", "model_final.pth"),
    *("inference/coco_instances_results.json", "inference/instances_predictions.pth"),
)
OURS = ("config.yaml", "log.txt", "metrics.jsonl", "environment.json", "model.safetensors")
USERS = ("notes.txt", "inference/mine.json")


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)


def run(folder, names):
    """Files as a run leaves them, on the list of our own."""
    OwnFiles(folder, "run").claim(names)
    fill(folder, names)


def files(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {LIST}


def test_a_folder_without_a_run_is_free(tmp_path):
    fill(tmp_path, USERS)
    for resume in (False, True):
        claim_for_detectron2(tmp_path, resume=resume, overwrite=False)
    assert files(tmp_path) == set(USERS)


@pytest.mark.parametrize("found", THEIRS)
def test_each_file_that_detectron2_writes_is_a_run(tmp_path, found):
    run(tmp_path, [found])
    with pytest.raises(StorageError, match="holds another run .*--resume.*--overwrite"):
        claim_for_detectron2(tmp_path, resume=False, overwrite=False)
    claim_for_detectron2(tmp_path, resume=True, overwrite=False)
    assert files(tmp_path) == {found}


def test_discarding_removes_the_run_and_nothing_else(tmp_path):
    run(tmp_path, THEIRS)
    fill(tmp_path, USERS)
    claim_for_detectron2(tmp_path, resume=False, overwrite=True)
    run_folder.discard(tmp_path)
    assert files(tmp_path) == set(USERS)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_of_our_own_engine_is_left_alone(tmp_path, resume):
    run(tmp_path, OURS)
    with pytest.raises(StorageError, match="run of our own engine .*metrics.jsonl"):
        claim_for_detectron2(tmp_path, resume=resume, overwrite=False)
    assert files(tmp_path) == set(OURS)


def test_a_run_of_our_own_engine_can_be_overwritten(tmp_path):
    run(tmp_path, OURS)
    fill(tmp_path, USERS)
    claim_for_detectron2(tmp_path, resume=False, overwrite=True)
    run_folder.discard(tmp_path)
    assert files(tmp_path) == set(USERS)


def test_resuming_and_overwriting_contradict_each_other(tmp_path):
    fill(tmp_path, THEIRS)
    with pytest.raises(ConfigError, match="--resume and --overwrite exclude each other"):
        claim_for_detectron2(tmp_path, resume=True, overwrite=True)
    assert files(tmp_path) == set(THEIRS)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["config.yaml", "model_final.pth", "metrics.json"])
def test_files_of_others_are_neither_removed_nor_replaced(tmp_path, name, overwrite):
    fill(tmp_path, [name])
    with pytest.raises(StorageError, match=f"contains {name}, which this run would replace"):
        claim_for_detectron2(tmp_path, resume=False, overwrite=overwrite)
    assert files(tmp_path) == {name}


def test_a_run_of_detectron2s_own_command_is_continued_and_then_ours(tmp_path):
    fill(tmp_path, ("last_checkpoint", "model_0000001.pth", "config.yaml"))
    claim_for_detectron2(tmp_path, resume=True, overwrite=False)
    with pytest.raises(StorageError, match="holds another run"):
        claim_for_detectron2(tmp_path, resume=False, overwrite=False)


def test_the_list_has_the_names_that_detectron2_gives(tmp_path):
    """fvcore's PeriodicCheckpointer: "model_{:07d}" of the step counted from 0, when
    (step + 1) % period == 0."""
    list_files(tmp_path, steps=10, period=4, ranks=2)
    names = {step: f"model_{step:07d}.pth" for step in range(10) if (step + 1) % 4 == 0}
    listed = OwnFiles(tmp_path, "run").listed()
    assert {name for name in listed if name.startswith("model_0")} == set(names.values())
    assert {"log.txt", "log.txt.rank1", "model_final.pth", "metrics.json"} <= listed
    before = event_files(tmp_path)
    fill(tmp_path, ["events.out.tfevents.5"])
    list_events(tmp_path, before)
    assert "events.out.tfevents.5" in OwnFiles(tmp_path, "run").listed()
