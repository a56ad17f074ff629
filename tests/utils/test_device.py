import pytest
import torch

from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.device import pick_device


def with_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_means_a_gpu_where_there_is_one(monkeypatch):
    with_gpus(monkeypatch, 0)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with_gpus(monkeypatch, 2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 0)
    assert pick_device("cpu") == torch.device("cpu")


def test_each_rank_gets_its_own_gpu(monkeypatch):
    with_gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)


def test_missing_gpus_are_explained(monkeypatch):
    with_gpus(monkeypatch, 0)
    with pytest.raises(ConfigError, match="device is cuda, but torch finds no usable GPU"):
        pick_device("cuda")
    with_gpus(monkeypatch, 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="rank 1 needs GPU 1, but torch finds only 1"):
        pick_device("auto")
