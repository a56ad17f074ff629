"""Against `backward()`, and against differences of the loss in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.errors import ConfigError
from resnet_backbone.paper.gradients import gradient_norms


@pytest.fixture
def batch():
    return torch.randn(4, 3, 8, 8), torch.tensor([0, 3, 1, 3])


def test_the_norms_of_backward(batch):
    network = create_classifier("plain20_cifar", num_classes=4)
    found = {g.name: g.norm for g in gradient_norms(network, *batch)}
    assert all(parameter.grad is None for parameter in network.parameters())
    F.cross_entropy(network.train()(batch[0]), batch[1]).backward()
    layers = {
        name.removesuffix(".weight"): parameter.grad.pow(2).sum().sqrt().item()
        for name, parameter in network.named_parameters()
        if parameter.dim() == 4
    }
    assert list(found) == list(layers)
    # The same float32 gradients, summed in float64 there and in float32 here.
    assert found == pytest.approx(layers, rel=1e-5)


def test_differences_of_the_loss(batch):
    """The derivative along the gradient's own direction is its norm."""
    images, labels = batch[0].double(), batch[1]
    network = create_classifier("resnet20_cifar", num_classes=4).double().train()
    found = {g.name: g.norm for g in gradient_norms(network, images, labels)}
    for name in ("conv1", "layer2.0.conv1", "layer3.2.conv2"):
        weight = network.get_submodule(name).weight
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(images), labels), weight)
        direction, losses = gradient / gradient.norm(), []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.add_(step * direction)
                losses.append(F.cross_entropy(network(images), labels).item())
                weight.sub_(step * direction)
        # Rounding of the loss, 1e-16 / 1e-6, and kinks of ReLU within the step.
        assert found[name] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4)


def test_the_network_is_left_as_it_was(batch):
    network = create_classifier("resnet20_cifar", num_classes=4).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    gradient_norms(network, *batch)
    assert not network.training
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())


def test_frozen_convolutions_are_left_out(batch):
    network = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Conv2d(2, 4, 1), nn.Flatten())
    network[0].requires_grad_(False)
    assert [gradient.name for gradient in gradient_norms(network, *batch)] == ["1"]
    with pytest.raises(ConfigError, match="no trainable convolution"):
        gradient_norms(network.requires_grad_(False), *batch)
