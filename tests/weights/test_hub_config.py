"""What the config.json of transformers' ResNet says beyond names and shapes."""

import json

import pytest
import torch

from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.hub_config import config_beside, transformers_stride
from resnet_backbone.weights.layouts import from_ours
from resnet_backbone.weights.stored import find_card


@pytest.fixture
def downloaded(tmp_path):
    """Writes resnet50 under transformers' names, with a config.json beside it."""
    state = from_ours(create_backbone("resnet50", norm="BN").state_dict(), "transformers")

    def write(**config):
        save_weights(state, tmp_path / "model.safetensors", {})
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"hidden_act": "gelu"}, "'hidden_act' in the config.json beside it is 'gelu'"),
        ({"downsample_in_first_stage": True}, "'downsample_in_first_stage' in .* is True"),
    ],
)
def test_networks_that_none_of_ours_is_are_refused(downloaded, setting, says, nested):
    config = {"model_type": "resnet", **setting}
    path = downloaded(**({"model_type": "detr", "backbone_config": config} if nested else config))
    with pytest.raises(WeightsError, match=says):
        create_backbone("resnet50", weights=path, stride_in_1x1=False)


@pytest.mark.parametrize(
    ("setting", "stride"),
    [({}, False), ({"downsample_in_bottleneck": True}, True), ({"hidden_act": "relu"}, False)],
)
def test_the_stride_is_known(downloaded, setting, stride):
    path = downloaded(model_type="resnet", **setting)
    assert find_card(path).stride_in_1x1 is stride
    net = create_backbone("resnet50", weights=path)
    assert net.layer2[0].conv1.stride == ((2, 2) if stride else (1, 1))
    with pytest.raises(ConfigError, match=f"got {not stride}, but the card says {stride}"):
        create_backbone("resnet50", weights=path, stride_in_1x1=not stride)


def test_other_files_are_not_judged_by_it(downloaded):
    path = downloaded(model_type="resnet", hidden_act="gelu")
    other = path.with_name("mine.safetensors")
    path.rename(other)
    assert find_card(other) is None and config_beside(other) == {}
    other.rename(path)
    assert transformers_stride(str(path), "torchvision") is None
    path.with_name("config.json").write_text("[]")
    assert find_card(path) is None


def test_the_network_is_that_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(downsample_in_bottleneck=True)
    model = transformers.ResNetModel(config).eval()
    model.save_pretrained(tmp_path)
    net = create_backbone("resnet50", weights=tmp_path / "model.safetensors").eval()
    image = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        found, expected = net(image)["res5"], model(image).last_hidden_state
    # Convolutions with folded norms round differently.
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
