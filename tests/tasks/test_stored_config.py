"""Weight files say which task they are for, and how it was configured."""

import pytest
import torch

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.tasks.stored_config import (
    config_inside,
    config_to_predict_with,
    is_classifier,
)
from resnet_backbone.weights.files import save_weights

TENSORS = {"conv1.weight": torch.zeros(2, 3, 3, 3)}


def saved(folder, text):
    path = folder / "model.safetensors"
    save_weights(TENSORS, path, text)
    return path


@pytest.mark.parametrize("kind", [Config, ClassificationConfig])
def test_of_either_task_with_other_values(tmp_path, kind):
    cfg = kind(name="mine", seed=4)
    path = saved(tmp_path, {"config": cfg.model_dump_json()})
    found = config_inside(path, ["seed=5"])
    assert type(found) is kind and (found.name, found.seed) == ("mine", 5)
    assert found.overrides == ("seed=5",)
    assert config_inside(tmp_path, []).seed == 4  # the folder of a run
    with pytest.raises(ConfigError, match=r"inside .*\n  sede \(command line\): unknown key"):
        config_inside(path, ["sede=5"])


def test_files_without_one_need_it(tmp_path):
    with pytest.raises(ConfigError, match="contains no configuration; .* --config"):
        config_inside(saved(tmp_path, {}), [])
    torch.save(TENSORS, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="contains no configuration"):
        config_inside(tmp_path / "w.pth", [])


def test_damaged_ones_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="config"):
        config_inside(saved(tmp_path, {"config": "{"}), [])
    with pytest.raises(WeightsError, match="for the task 'poetry'"):
        config_inside(saved(tmp_path, {"config": '{"task": "poetry"}'}), [])


def test_a_configuration_says_the_task_before_the_file_does(tmp_path):
    path = saved(tmp_path, {"config": ClassificationConfig().model_dump_json()})
    assert is_classifier(path) and is_classifier(tmp_path)
    assert not is_classifier(path, Config())
    bare = saved(tmp_path, {})
    assert not is_classifier(bare)
    assert is_classifier(bare, ClassificationConfig())


@pytest.mark.parametrize("kind", [Config, ClassificationConfig])
def test_a_configuration_to_predict_with(tmp_path, kind):
    path = saved(tmp_path, {"config": kind(name="mine").model_dump_json()})
    assert config_to_predict_with(path, None, []) is None
    assert config_to_predict_with(path, None, ["seed=5"]).seed == 5
    named = "quickstart.yaml" if kind is Config else "cifar10_r20.yaml"
    assert type(config_to_predict_with(path, named, ["seed=6"])) is kind
