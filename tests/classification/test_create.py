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


def test_weights_of_another_number_of_classes_fill_all_but_the_last_layer(donor, caplog):
    expected, path = donor
    torch.manual_seed(9)
    drawn = create_classifier(NAME, num_classes=5).fc
    torch.manual_seed(9)
    net = create_classifier(NAME, num_classes=5, weights=path)
    for name, tensor in net.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, expected.state_dict()[name]), name
    assert torch.equal(net.fc.weight, drawn.weight) and torch.equal(net.fc.bias, drawn.bias)
    assert "the file has 7 classes, the model 5; drawn at random: 2 tensors, " in caplog.text
    assert "fc.weight, fc.bias" in caplog.text
    with pytest.raises(WeightsError, match=r"of another shape: fc\.weight \[7, 64\] for \[5, 64\]"):
        create_classifier(NAME, num_classes=5, weights=path, class_layers="copy")


def test_without_a_number_there_are_as_many_classes_as_in_the_weights(donor):
    net = create_classifier(NAME, weights=donor[1])
    assert torch.equal(net.fc.weight, donor[0].fc.weight)


def test_other_class_names_are_said_and_not_copied_unless_asked(donor, tmp_path, caplog):
    expected, _ = donor
    path = tmp_path / "named.safetensors"
    save_weights(
        expected,
        path,
        WeightsCard().to_metadata() | {"class_names": '["a","b","c","d","e","f","g"]'},
    )
    names = ["a", "b", "c", "d", "e", "f", "x"]
    for mode, copied in (("auto", False), ("copy", True), ("draw", False)):
        net = create_classifier(
            NAME, num_classes=7, weights=path, class_layers=mode, class_names=names
        )
        assert torch.equal(net.fc.weight, expected.fc.weight) is copied
    assert "1 of 7 classes have other names: 'g' for 'x'; drawn at random: 2 tensors" in caplog.text
    same = create_classifier(NAME, num_classes=7, weights=path, class_names=[*"abcdefg"])
    assert torch.equal(same.fc.weight, expected.fc.weight)


@pytest.mark.parametrize("name", [NAME, "resnetv2_18"])
def test_a_backbone_alone_fills_all_but_the_head(tmp_path, caplog, name):
    trunk = create_backbone(name, norm="BN")
    save_weights(trunk, tmp_path / "b.safetensors", WeightsCard())
    net = create_classifier(name, num_classes=3, weights=tmp_path / "b.safetensors")
    for key, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[key]), key
    assert "the file has no class layers" in caplog.text


def test_self_supervised_weights_fill_all_but_the_head(tmp_path):
    trunk = create_classifier(NAME, num_classes=4).state_dict()
    moco = {f"module.encoder_q.{n}": t for n, t in trunk.items() if not n.startswith("fc.")}
    moco |= {f"module.encoder_q.fc.{i}.weight": torch.ones(2, 2) for i in (0, 2)}
    torch.save({"state_dict": moco, "arch": "resnet50"}, tmp_path / "moco.pth.tar")
    net = create_classifier(NAME, num_classes=10, weights=tmp_path / "moco.pth.tar")
    assert torch.equal(net.layer3[0].conv1.weight, trunk["layer3.0.conv1.weight"])


def test_an_argument_that_does_not_exist_gets_the_close_names():
    with pytest.raises(ConfigError, match="no argument 'shortcut'; the network's name decides it"):
        create_classifier("resnet18", shortcut="A")
    with pytest.raises(ValueError, match="no argument 'stochastic_dept'; did you mean stochastic_"):
        create_classifier("resnet18", stochastic_dept=0.1)
    with pytest.raises(ConfigError, match="no argument 'colour'; expected one of norm, norm_eps,"):
        create_classifier("resnet18", colour=1)


def test_an_unknown_network_gets_the_close_names():
    with pytest.raises(ConfigError, match="unknown backbone 'resnet5O'; did you mean resnet50"):
        create_classifier("resnet5O")


def test_no_classes():
    with pytest.raises(ConfigError, match="num_classes: got 0, expected 1 or more"):
        create_classifier("resnet18", num_classes=0)
