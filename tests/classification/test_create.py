"""Classifiers by name: what they are filled with, and what is refused."""

import pytest
import torch
from torch import nn

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import read_weights

NAME = "resnet20_cifar"


@pytest.fixture
def donor(tmp_path):
    """A classifier of seven classes, and its file."""
    net = create_classifier(NAME, num_classes=7)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    save_weights(net, tmp_path / "w.safetensors", WeightsCard(norm_eps=1e-3))
    return net, tmp_path / "w.safetensors"


def test_a_network_has_as_many_scores_as_are_asked_for_and_ordinary_norms():
    net = create_classifier(NAME, num_classes=7)
    assert net(torch.zeros(2, 3, 17, 13)).shape == (2, 7)
    assert isinstance(net.bn1, nn.BatchNorm2d)
    assert create_classifier(NAME).fc.out_features == 1000
    assert net.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_options_are_the_backbones():
    net = create_classifier(NAME, norm="SyncBN", in_channels=5, stochastic_depth=0.25)
    assert isinstance(net.bn1, nn.SyncBatchNorm)
    assert net.conv1.in_channels == 5
    assert net.layer3[-1].drop_rate == 0.25
    bottleneck = create_classifier("resnet50", stride_in_1x1=True, norm_eps=1e-2)
    assert bottleneck.layer2[0].conv1.stride == (2, 2)
    assert bottleneck.bn1.eps == 1e-2


@pytest.mark.parametrize("read", [False, True])
def test_weights_fill_backbone_and_head_and_their_card_is_obeyed(donor, read):
    expected, path = donor
    net = create_classifier(NAME, num_classes=7, weights=read_weights(path) if read else path)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name]), name
    assert net.bn1.eps == 1e-3


def test_weights_of_another_number_of_classes_are_refused(donor):
    with pytest.raises(WeightsError, match=r"of another shape: fc\.weight \[7, 64\] for \[5, 64\]"):
        create_classifier(NAME, num_classes=5, weights=donor[1])


def test_a_backbone_alone_does_not_fill_a_classifier(tmp_path):
    save_weights(create_backbone(NAME, norm="BN"), tmp_path / "b.safetensors", WeightsCard())
    with pytest.raises(WeightsError, match=r"2 missing: fc\.weight, fc\.bias"):
        create_classifier(NAME, weights=tmp_path / "b.safetensors")


def test_an_unknown_network_gets_the_close_names():
    with pytest.raises(ConfigError, match="unknown backbone 'resnet5O'; did you mean resnet50"):
        create_classifier("resnet5O")


def test_no_classes():
    with pytest.raises(ConfigError, match="num_classes: got 0, expected 1 or more"):
        create_classifier("resnet18", num_classes=0)
