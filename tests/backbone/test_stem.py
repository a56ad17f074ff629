"""Stems against torchvision's and timm's, and their stride against a measurement."""

import pytest
import torch
import torchvision
from comparison import randomise_norms
from torch import nn

from resnet_backbone.backbone.blocks import BasicBlock
from resnet_backbone.backbone.stem import stem_conv, stem_stride
from resnet_backbone.backbone.variants import Variant
from resnet_backbone.create import create_backbone


def stem(kind, in_channels=3, norm=nn.BatchNorm2d, width=64):
    variant = Variant(BasicBlock, (1, 1), (width, 2 * width), stem=kind)
    return stem_conv(variant, in_channels, norm).eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "resnet20_cifar"])
def test_the_stride_is_what_a_network_has(name):
    net = create_backbone(name, out_features=("stem",))
    height, width = net(torch.zeros(1, 3, 64, 96))["stem"].shape[2:]
    assert (64 / height, 96 / width) == (stem_stride(net.variant), stem_stride(net.variant))


def test_the_wide_kernel_is_torchvisions():
    theirs, ours = torchvision.models.resnet18().conv1, stem("7x7")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def test_the_deep_stem_is_timms_with_its_names():
    timm = pytest.importorskip("timm")
    theirs, ours = timm.create_model("resnet18d").conv1.eval(), stem("deep")
    randomise_norms(theirs)
    # timm's stem is 32, 32, 64 wide, as in "Bag of Tricks".
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_the_stem_for_small_images_keeps_their_size():
    conv = stem("cifar", width=16)
    assert (conv.kernel_size, conv.stride) == ((3, 3), (1, 1))
    assert conv(torch.zeros(2, 3, 31, 33)).shape == (2, 16, 31, 33)


@pytest.mark.parametrize("kind", ["7x7", "deep", "cifar"])
def test_the_last_norm_is_left_to_the_network_and_biases_to_the_norms(kind):
    found = stem(kind, in_channels=5)
    convs = [module for module in found.modules() if isinstance(module, nn.Conv2d)]
    assert list(found.modules())[-1] is convs[-1]
    assert all(conv.bias is None for conv in convs)
    assert (convs[0].in_channels, convs[-1].out_channels) == (5, 64)


def test_inner_norms_are_of_the_kind_that_is_asked_for():
    asked = []

    def norm(channels):
        asked.append(channels)
        return nn.GroupNorm(4, channels)

    found = stem("deep", norm=norm, width=48)
    assert asked == [24, 24]
    assert sum(isinstance(module, nn.GroupNorm) for module in found) == 2
