"""Which network tensors are of."""

import pytest
import torch

from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.create import create_backbone
from resnet_backbone.weights.recognise import networks_like

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
