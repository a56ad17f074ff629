"""Backbone and neck of each architecture, and every declaration against a measurement."""

import pytest
import torch
from tiny_rcnn import tiny_config
from torch import nn

from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.detection.trunk import build_trunk
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import read_weights

ONE_MAP = {"anchors": {"sizes": ((16.0, 32.0, 64.0),)}}
ARCHITECTURES = pytest.mark.parametrize("architecture", ["fpn", "dc5", "c4"])


def build(num_classes=3, **model):
    return build_detector(tiny_config(**model), num_classes)


def trunk(architecture, weights=None, *, fpn_channels=16, allow_partial=(), **backbone):
    section = {"name": "resnet18", "norm": "FrozenBN", "freeze_at": 0} | backbone
    rpn = {} if architecture == "fpn" else {"rpn": ONE_MAP}
    cfg = tiny_config(
        architecture=architecture,
        backbone=section,
        fpn_channels=fpn_channels,
        allow_partial=allow_partial,
        **rpn,
    )
    return build_trunk(settle_detector(cfg).model, weights)


def test_only_fpn_requires_image_sizes_of_our_networks():
    """detectron2's `size_divisibility`: 32 for its FPN, 0 (none) for C4 and DC5."""
    assert [trunk(name).size_divisor for name in ("fpn", "dc5", "c4")] == [32, 1, 1]


@pytest.mark.parametrize(
    ("architecture", "specs", "pooled"),
    [
        ("fpn", [FeatureSpec(24, stride) for stride in (4, 8, 16, 32, 64)], 4),
        ("dc5", [FeatureSpec(512, 16)], 1),
        ("c4", [FeatureSpec(256, 16)], 1),
    ],
)
def test_maps_have_the_channels_and_strides_that_are_declared(architecture, specs, pooled):
    found = trunk(architecture, fpn_channels=24)
    assert found.specs == specs and found.pooled_levels == pooled
    maps = found.neck(found.backbone(torch.zeros(1, 3, 128, 192)))
    assert [tuple(each.shape) for each in maps] == [
        (1, spec.channels, 128 // spec.stride, 192 // spec.stride) for spec in specs
    ]


def test_only_c4_has_a_stage_for_regions():
    for architecture in ("fpn", "dc5"):
        assert trunk(architecture).res5 is None
    found = trunk("c4")
    regions = found.res5(torch.zeros(2, found.specs[0].channels, 14, 14))
    assert regions.shape == (2, found.res5.out_channels, 7, 7)


@pytest.mark.parametrize(("output_stride", "expected"), [(32, 16), (16, 16), (8, 8)])
def test_dc5_has_a_stride_of_16_at_most(output_stride, expected):
    found = trunk("dc5", output_stride=output_stride)
    assert found.specs == [FeatureSpec(512, expected)]
    (fine,) = found.neck(found.backbone(torch.zeros(1, 3, 64, 96)))
    assert fine.shape == (1, 512, 64 // expected, 96 // expected)


@ARCHITECTURES
def test_the_backbones_keys_arrive(architecture):
    found = trunk(
        architecture,
        norm="BN",
        norm_eps=1e-3,
        freeze_at=3,
        deformable=("res4", "res5"),
        stochastic_depth=0.25,
        activation_checkpointing=True,
    )
    net = found.backbone
    assert isinstance(net.layer3[0].bn1, nn.BatchNorm2d) and net.layer3[0].bn1.eps == 1e-3
    assert isinstance(net.bn1, FrozenBatchNorm2d)  # FREEZE_AT 3: stem, res2 and res3
    assert not any(parameter.requires_grad for parameter in net.layer2.parameters())
    assert all(parameter.requires_grad for parameter in net.layer3.parameters())
    assert isinstance(net.layer3[1].conv2, DeformConv2d)
    last = net.layer4 if found.res5 is None else found.res5
    assert isinstance(last[0].conv1, DeformConv2d)
    assert isinstance(last[0].bn1, nn.BatchNorm2d) and last[0].bn1.eps == 1e-3
    assert last[1].drop_rate == 0.25 and last.activation_checkpointing


@ARCHITECTURES
def test_the_stride_may_be_in_the_1x1(architecture):
    found = trunk(architecture, name="resnet50", stride_in_1x1=True)
    assert found.backbone.layer3[0].conv1.stride == (2, 2)
    if found.res5 is not None:
        assert found.res5[0].conv1.stride == (2, 2)


@ARCHITECTURES
def test_what_a_backbone_refuses_is_said_with_its_name(architecture):
    with pytest.raises(
        ConfigError, match=r"^model\.backbone, resnet18: options: got \{'width': 3\}"
    ):
        trunk(architecture, options={"width": 3})


@pytest.fixture
def donor(tmp_path):
    """A backbone of random numbers, and what was read from its file."""
    net = create_backbone("resnet18")
    for tensor in net.state_dict().values():
        nn.init.uniform_(tensor, 0.5, 1.5)
    save_weights(net, tmp_path / "w.safetensors", WeightsCard())
    return net.state_dict(), read_weights(tmp_path / "w.safetensors")


@ARCHITECTURES
def test_weights_fill_all_stages(architecture, donor):
    state, stored = donor
    found = trunk(architecture, stored)
    own = dict(found.backbone.state_dict())
    if found.res5 is not None:
        own |= {f"layer4.{name}": tensor for name, tensor in found.res5.state_dict().items()}
    assert own.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in own.items())


@ARCHITECTURES
def test_what_weights_lack_is_named_unless_it_is_allowed(architecture, donor):
    state, stored = donor
    name = "layer4.1.conv2.weight"
    del stored.tensors[name]
    shown = name.removeprefix("layer4.") if architecture == "c4" else name
    with pytest.raises(WeightsError, match=f"does not cover the model; .*1 missing: {shown}"):
        trunk(architecture, stored)
    found = trunk(architecture, stored, allow_partial=(shown,))
    last = found.backbone.layer4 if found.res5 is None else found.res5
    assert torch.equal(last[0].conv2.weight, state["layer4.0.conv2.weight"])


def test_timms_own_weights_are_left_to_timm(monkeypatch):
    """It loads them as it builds the network; a detector's weights replace them."""
    asked = []

    def create(name, *, weights, **options):
        asked.append(weights)
        return create_backbone("resnet18", out_features=options["out_features"])

    monkeypatch.setattr("resnet_backbone.detection.trunk.create_backbone", create)
    backbone = {"name": "timm/resnet18", "weights": "timm/a1_in1k"}
    build_trunk(tiny_config(backbone=backbone).model, None)
    build_trunk(tiny_config(backbone=backbone, weights="detector.safetensors").model, None)
    build_trunk(tiny_config(backbone={"name": "resnet18", "weights": "w.pth"}).model, None)
    assert asked == ["timm/a1_in1k", None, None]


def test_c4_loads_res5_into_the_region_head(tmp_path):
    """The backbone of C4 ends at res4; the file's layer4 belongs to the head."""
    donor = create_backbone("resnet18")
    for parameter in donor.parameters():
        torch.nn.init.normal_(parameter)
    card = WeightsCard(channel_order="RGB", mean=(1, 2, 3), std=(4, 5, 6))
    save_weights(donor, tmp_path / "r18.safetensors", card)
    backbone = {"name": "resnet18", "freeze_at": 0, "weights": str(tmp_path / "r18.safetensors")}
    model = build(architecture="c4", rpn=ONE_MAP, backbone=backbone)
    res5 = model.roi_heads.box_pooler.res5
    assert not hasattr(model.backbone, "layer4")
    for name, parameter in donor.layer4.named_parameters():
        assert torch.equal(res5.get_parameter(name), parameter)
    for name, parameter in model.backbone.named_parameters():
        assert torch.equal(donor.get_parameter(name), parameter)


def test_dc5_dilates_instead_of_striding():
    model = build(architecture="dc5", rpn=ONE_MAP)
    convolutions = [m for m in model.backbone.layer4.modules() if isinstance(m, torch.nn.Conv2d)]
    assert {conv.stride for conv in convolutions} == {(1, 1)}
    assert (2, 2) in {conv.dilation for conv in convolutions if conv.kernel_size == (3, 3)}


def test_a_pyramid_needs_stages_that_halve():
    with pytest.raises(ConfigError, match=r"model\.backbone\.output_stride: got 16, expected 32"):
        build(backbone={"name": "resnet18", "output_stride": 16})


def test_c4_needs_a_res5_of_ours():
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="timm/resnet10t has no res5 to apply to regions"):
        build(architecture="c4", rpn=ONE_MAP, backbone={"name": "timm/resnet10t"})
