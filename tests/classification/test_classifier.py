"""Classifiers against torchvision, timm and the paper's counts."""

import re

import pytest
import torch
import torchvision
from comparison import randomise_norms

from resnet_backbone.classification.create import create_classifier


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_equals_torchvision(name):
    reference = getattr(torchvision.models, name)().eval()
    randomise_norms(reference)
    net = create_classifier(name).eval()
    net.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        found, expected = net(images), reference(images)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert set(net.state_dict()) == set(reference.state_dict())


@pytest.mark.parametrize("name", ["resnetv2_18", "resnetv2_50"])
def test_pre_activation_equals_timm(name):
    timm = pytest.importorskip("timm")
    reference = timm.create_model(name).eval()
    randomise_norms(reference)
    net = create_classifier(name).eval()
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    state = {_own_name(key): value for key, value in reference.state_dict().items()}
    net.load_state_dict({key: value.view(shapes[key]) for key, value in state.items()})
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        found, expected = net(images), reference(images)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def _own_name(key: str) -> str:
    key = key.replace("stem.conv", "conv1").replace("head.fc", "fc")
    key = key.replace("downsample.conv", "downsample.0")
    key = re.sub(r"stages\.(\d)\.blocks", lambda found: f"layer{int(found[1]) + 1}", key)
    return re.sub(r"\.norm(\d)", r".bn\1", key)


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        # The paper's table 6 rounds the first six; the formula behind it gives these.
        ("resnet20_cifar", 10, 269_722),
        ("resnet32_cifar", 10, 464_154),
        ("resnet44_cifar", 10, 658_586),
        ("resnet56_cifar", 10, 853_018),
        ("resnet110_cifar", 10, 1_727_962),
        ("resnet1202_cifar", 10, 19_421_274),
        ("plain20_cifar", 10, 269_722),
        ("resnet18_a", 1000, 11_515_688),
        ("plain34", 1000, 21_623_848),
        ("resnet34_a", 1000, 21_623_848),
        ("resnet34_c", 1000, 22_716_840),
        ("resnet34", 1000, 21_797_672),
        ("resnet152", 1000, 60_192_808),
        ("resnext101_64x4d", 1000, 83_455_272),
        ("wide_resnet101_2", 1000, 126_886_696),
    ],
)
def test_parameter_counts(name, classes, count):
    with torch.device("meta"):
        net = create_classifier(name, num_classes=classes)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_a_cifar_network():
    net = create_classifier("resnet20_cifar", num_classes=10)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert list(net.features(torch.zeros(2, 3, 32, 32))) == ["res2", "res3", "res4"]
