"""Backbones by name."""

import subprocess
import sys

import pytest
import torch

from resnet_backbone.create import create_backbone, create_res5
from resnet_backbone.errors import ConfigError


@pytest.mark.parametrize("create", [create_backbone, create_res5])
def test_misspelt_name(create):
    with pytest.raises(ConfigError, match="unknown backbone 'resnet5O'; did you mean resnet50"):
        create("resnet5O")


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_res4_and_the_res5_head_make_the_whole_network(name):
    whole = create_backbone(name, norm="FrozenBN")
    trunk = create_backbone(name, norm="FrozenBN", out_features=("res4",))
    head = create_res5(name, norm="FrozenBN")
    state = whole.state_dict()
    trunk.load_state_dict(state, strict=False)
    head.load_state_dict(
        {k.removeprefix("layer4."): v for k, v in state.items() if k.startswith("layer4.")}
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole(x)["res5"]
        assert torch.equal(head(trunk(x)["res4"]), expected)
    assert head.out_channels == expected.shape[1] == whole.feature_specs()["res5"].channels


def test_res5_head_takes_the_stride_where_it_is_told():
    assert create_res5("resnet50", stride_in_1x1=True)[0].conv1.stride == (2, 2)
    assert create_res5("resnet50", stride_in_1x1=False)[0].conv2.stride == (2, 2)


def test_what_is_left_to_the_weights_is_as_usual_in_a_res5_head_without_any():
    """As in `create_backbone`, whose defaults these are."""
    head = create_res5("resnet50", norm_eps=None, stride_in_1x1=None)
    assert head[0].bn1.eps == create_backbone("resnet50").layer4[0].bn1.eps == 1e-5
    assert head[0].conv1.stride == (1, 1)


def test_the_backbone_needs_torch_alone():
    code = (
        "import sys, resnet_backbone.create\n"
        "heavy = {'torchvision', 'pydantic', 'safetensors', 'PIL', 'yaml', 'pycocotools'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_network_without_res5_has_no_res5_head():
    with pytest.raises(ConfigError, match="resnet20_cifar has no res5"):
        create_res5("resnet20_cifar")


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("shortcut", "'shortcut'; the network's name decides it"),
        ("feeze_at", "'feeze_at'; did you mean freeze_at"),
        ("num_classes", "'num_classes'; expected one of name, weights, out_features, norm,"),
    ],
)
def test_unknown_arguments_come_with_those_that_were_meant(argument, says):
    with pytest.raises(ConfigError, match=f"^create_backbone: there is no argument {says}"):
        create_backbone("resnet18", **{argument: "A"})
