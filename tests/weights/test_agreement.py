"""Networks built for weights stride where these do, or are refused."""

import pytest
import torch

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.presets import MSRA


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    net = create_classifier("resnet50", num_classes=5)
    basic = create_classifier("resnet18", num_classes=5)
    save_weights(net, folder / "msra.safetensors", MSRA.model_copy(update={"norm_eps": 1e-3}))
    save_weights(net, folder / "unknown.safetensors", {})
    save_weights(basic, folder / "basic.safetensors", {})
    return folder


@pytest.mark.parametrize("create", [create_backbone, create_classifier])
def test_the_cards_stride_and_eps_are_taken(files, create):
    more = {"num_classes": 5} if create is create_classifier else {"norm": "BN"}
    net = create("resnet50", weights=files / "msra.safetensors", **more)
    assert net.layer2[0].conv1.stride == (2, 2)
    assert net.bn1.eps == 1e-3


@pytest.mark.parametrize("create", [create_backbone, create_classifier])
def test_what_contradicts_it_is_refused(files, create):
    with pytest.raises(ConfigError, match=r"stride_in_1x1: got False, but .* says True"):
        create("resnet50", weights=files / "msra.safetensors", stride_in_1x1=False)
    with pytest.raises(ConfigError, match=r"norm_eps: got 1e-05, but the card of .* says 0\.001"):
        create("resnet50", weights=files / "msra.safetensors", norm_eps=1e-5)


def test_where_nothing_is_known_the_stride_must_be_stated(files):
    path = files / "unknown.safetensors"
    with pytest.raises(ConfigError, match="nothing is known about where these weights stride"):
        create_backbone("resnet50", weights=path)
    net = create_backbone("resnet50", weights=path, stride_in_1x1=True)
    assert net.layer2[0].conv1.stride == (2, 2)


def test_basic_blocks_have_nothing_to_state(files):
    create_backbone("resnet18", weights=files / "basic.safetensors")


def test_a_network_that_was_built_otherwise_is_not_filled(files):
    net = create_backbone("resnet50", norm="BN", norm_eps=1e-3)
    before = net.conv1.weight.clone()
    with pytest.raises(WeightsError, match="its card says stride_in_1x1=True, but the network was"):
        load_weights(net, files / "msra.safetensors")
    assert torch.equal(net.conv1.weight, before)
    other = create_backbone("resnet50", norm="BN", stride_in_1x1=True)
    with pytest.raises(WeightsError, match=r"norm_eps=0\.001, but the network was built"):
        load_weights(other, files / "msra.safetensors")
