"""Which network tensors are of."""

import pytest
import torch

from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.create import create_backbone
from resnet_backbone.weights.recognise import described, networks_like

SMALL = [name for name in list_backbones() if not any(n in name for n in ("1202", "110", "152"))]
# Strides, shortcuts without parameters and none at all leave no trace in the names.
TWINS = {frozenset({f"plain{depth}", f"resnet{depth}_a"}) for depth in (18, 34)} | {
    frozenset({f"plain{depth}_cifar", f"resnet{depth}_cifar"}) for depth in (20, 32, 44, 56)
}


@pytest.mark.parametrize("name", SMALL)
def test_every_network_is_recognised(name):
    with torch.device("meta"):
        state = create_backbone(name, norm="BN").state_dict()
    twins = next((pair for pair in TWINS if name in pair), {name})
    assert set(networks_like(state)) == set(twins)


def test_parts_and_other_tensors():
    with torch.device("meta"):
        state = create_backbone("resnet50", norm="BN", out_features=("res4",)).state_dict()
    state["fc.weight"] = torch.zeros(1)
    assert networks_like(state) == ["resnet50"]
    assert networks_like({"embed": torch.zeros(1)}) == []


def test_a_network_is_named_only_if_it_is_there():
    with torch.device("meta"):
        net = create_backbone("resnet50d", norm="BN", in_channels=5, deformable=("res5",))
    state = net.state_dict() | {"fc.weight": torch.zeros(1)}
    assert described(state) == "resnet50d"
    assert described({"embed": torch.zeros(1)}) == "none of our networks"
    attention = state | {"layer1.0.se.conv.weight": torch.zeros(1, 1, 3)}  # timm's ECA
    wide = state | {"layer1.0.conv2.weight": torch.zeros(72, 64, 3, 3)}
    short = {name: tensor for name, tensor in state.items() if name != "layer2.1.conv2.weight"}
    for other in (attention, wide, short):
        assert described(other) == "none of our networks (most like resnet50d)"
    plain = create_backbone("plain18", norm="BN").state_dict()
    assert set(described(plain).split(" or ")) == {"plain18", "resnet18_a"}


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("ecaresnet50d", "resnet50d"),
        ("ecaresnet26t", "resnet18d"),
        ("seresnet50t", "seresnet50"),
        ("seresnext50_32x4d", "resnext50_32x4d"),
        ("resnext101_32x4d", "wide_resnet101_2"),
        ("resnet50t", "resnet50d"),
    ],
)
def test_timms_networks_that_are_none_of_ours_are_not_called_ours(name, like):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    assert described(state) == f"none of our networks (most like {like})"
    assert described(timm.create_model("resnet18").state_dict()) == "resnet18"
