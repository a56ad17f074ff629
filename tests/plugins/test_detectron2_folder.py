"""Which output folders detectron2's engine may write into; needs no detectron2."""

import pytest

from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.plugins.detectron2_folder import claim_for_detectron2, discard_any_run

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


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_without_a_run_is_free(tmp_path):
    fill(tmp_path, USERS)
    for resume in (False, True):
        claim_for_detectron2(tmp_path, resume=resume, overwrite=False)
    assert files(tmp_path) == set(USERS)


@pytest.mark.parametrize("found", THEIRS)
def test_each_file_that_detectron2_writes_is_a_run(tmp_path, found):
    fill(tmp_path, [found])
    with pytest.raises(StorageError, match="holds another run .*--resume.*--overwrite"):
        claim_for_detectron2(tmp_path, resume=False, overwrite=False)
    claim_for_detectron2(tmp_path, resume=True, overwrite=False)
    assert files(tmp_path) == {found}


def test_discarding_removes_the_run_and_nothing_else(tmp_path):
    fill(tmp_path, (*THEIRS, *USERS))
    claim_for_detectron2(tmp_path, resume=False, overwrite=True)
    discard_any_run(tmp_path)
    assert files(tmp_path) == set(USERS)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_of_our_own_engine_is_left_alone(tmp_path, resume):
    fill(tmp_path, OURS)
    with pytest.raises(StorageError, match="run of our own engine .*metrics.jsonl"):
        claim_for_detectron2(tmp_path, resume=resume, overwrite=False)
    assert files(tmp_path) == set(OURS)


def test_a_run_of_our_own_engine_can_be_overwritten(tmp_path):
    fill(tmp_path, (*OURS, *USERS))
    claim_for_detectron2(tmp_path, resume=False, overwrite=True)
    discard_any_run(tmp_path)
    assert files(tmp_path) == set(USERS)


def test_resuming_and_overwriting_contradict_each_other(tmp_path):
    fill(tmp_path, THEIRS)
    with pytest.raises(ConfigError, match="--resume and --overwrite exclude each other"):
        claim_for_detectron2(tmp_path, resume=True, overwrite=True)
    assert files(tmp_path) == set(THEIRS)
