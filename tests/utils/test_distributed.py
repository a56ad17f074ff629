import pytest
import torch

from resnet_backbone.errors import ConfigError, DataError, StorageError
from resnet_backbone.utils import distributed


def test_a_lone_process_is_a_group_of_one():
    with distributed.joined(torch.device("cpu")):
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        tensor = torch.tensor([1.0, 2.0])
        assert distributed.all_reduce_sum(tensor) is tensor
        assert tensor.tolist() == [1.0, 2.0]
        assert distributed.all_gather_object("x") == ["x"]
        assert distributed.broadcast_object({"a": 1}) == {"a": 1}
        distributed.broadcast_tensor(tensor)


def test_the_rank_is_known_before_the_group_is_joined(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.rank() == 3 and not distributed.is_main()
    assert distributed.local_rank() == 1


def test_an_incomplete_environment_is_explained(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    missing = "RANK, MASTER_ADDR, MASTER_PORT is not set.*torchrun"
    with pytest.raises(ConfigError, match=missing), distributed.joined(torch.device("cpu")):
        pass


def test_on_main_returns_or_raises_what_the_action_does():
    assert distributed.on_main(lambda: 5) == 5
    with pytest.raises(DataError, match="bad"):
        distributed.on_main(lambda: (_ for _ in ()).throw(DataError("bad")))


def test_on_main_takes_system_errors_for_storage_errors(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        distributed.on_main(lambda: (tmp_path / "x").read_text())
