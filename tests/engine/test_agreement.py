import pytest

from resnet_backbone.engine.agreement import check_same_data_on_ranks
from resnet_backbone.errors import DataError
from resnet_backbone.utils import distributed

IDENTITY = {"class_names": ["cat", "dog"], "dataset": {"train": "ab12", "val": "cd34"}}


def gathered(monkeypatch, *others):
    monkeypatch.setattr(distributed, "all_gather_object", lambda own: [own, *others])


def test_one_rank_agrees_with_itself():
    check_same_data_on_ranks(IDENTITY)


def test_every_difference_is_named_with_its_rank(monkeypatch):
    same = {"class_names": ["cat", "dog"], "dataset.train": "ab12", "dataset.val": "cd34"}
    gathered(monkeypatch, same, same)
    check_same_data_on_ranks(IDENTITY)
    gathered(monkeypatch, same, same | {"dataset.train": "ff00"}, same | {"class_names": ["cat"]})
    with pytest.raises(DataError) as error:
        check_same_data_on_ranks(IDENTITY)
    message = str(error.value)
    assert "dataset.train: ab12 on rank 0, ff00 on rank 2" in message
    assert "class_names: ['cat', 'dog'] on rank 0, ['cat'] on rank 3" in message
    assert "rank 1" not in message and "val" not in message


def test_two_processes_with_different_files_both_end_before_the_first_step(server, tmp_path):
    jobs = [{}, {"options": {"fingerprint": "older"}}]
    assert server.run_ranks(tmp_path, jobs) == [3, 3]
    assert server.stderr.count("dataset.train: same on rank 0, older on rank 1") == 2
    assert "Traceback" not in server.stderr
    assert not (tmp_path / "metrics.jsonl").exists()
