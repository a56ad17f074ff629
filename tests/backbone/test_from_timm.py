"""timm's networks behind our interface, against timm's own `features_only`."""

import copy
import socket

import pytest
import torch
from torch import nn

from resnet_backbone.backbone import from_timm
from resnet_backbone.backbone.foreign import build_foreign
from resnet_backbone.backbone.from_timm import timm_pixels
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.errors import ConfigError, WeightsError

timm = pytest.importorskip("timm")

CONVNEXT, SWIN, EFFICIENTNET = (
    "timm/convnext_atto",
    "timm/swin_tiny_patch4_window7_224",
    "timm/efficientnet_lite0",
)


def build(name, out_features=None, weights=None, **options):
    torch.manual_seed(0)
    return build_foreign(
        name, out_features=out_features, options=Options(**options), weights=weights
    )


def image(height=64, width=96):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [CONVNEXT, EFFICIENTNET, "timm/resnet18", "timm/resnetv2_50"])
def test_features_are_timms(name):
    net = build(name).eval()
    theirs = timm.create_model(name.removeprefix("timm/"), features_only=True).eval()
    theirs.load_state_dict({n.removeprefix("body."): t for n, t in net.state_dict().items()})
    with torch.no_grad():
        found, wanted = net(image()), theirs(image())
    assert list(found) == ["res2", "res3", "res4", "res5"] == list(net.out_features)
    for ours, other in zip(found.values(), wanted[-4:], strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", [CONVNEXT, SWIN, EFFICIENTNET, "timm/hrnet_w18_small"])
def test_the_features_are_what_the_specs_say(name):
    net = build(name).eval()
    with torch.no_grad():
        features = net(image())
    for feature, (stage, spec) in zip(features.values(), net.feature_specs().items(), strict=True):
        assert spec.stride == {"res2": 4, "res3": 8, "res4": 16, "res5": 32}[stage]
        assert feature.shape == (2, spec.channels, 64 // spec.stride, 96 // spec.stride)


def test_only_what_is_asked_for_is_built():
    net = build(CONVNEXT, out_features=("res4", "res2"))
    assert list(net(image())) == ["res2", "res4"]
    assert not any("stages_3" in name for name in net.state_dict())


def test_a_dilated_stage_keeps_its_name():
    net = build("timm/resnet18", output_stride=16)
    assert [spec.stride for spec in net.feature_specs().values()] == [4, 8, 16, 16]
    assert net(image())["res5"].shape == (2, 512, 4, 6)


def test_other_inputs_and_options():
    net = build(CONVNEXT, in_channels=5, stochastic_depth=0.5, activation_checkpointing=True)
    rates = [m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == 0.5
    net.train()(torch.randn(1, 5, 32, 32))["res5"].sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


# --- norms and freezing ---


@pytest.mark.parametrize("name", ["timm/resnet18", EFFICIENTNET])
def test_a_frozen_norm_computes_the_same(name):
    """EfficientNet's norms include the activation, which must survive."""
    net, frozen = build(name).eval(), build(name, norm="FrozenBN").train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    frozen.load_state_dict(net.state_dict())
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in frozen.modules())
    with torch.no_grad():
        found, wanted = frozen(image()), net(image())
    for ours, theirs in zip(found.values(), wanted.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["timm/resnet18", EFFICIENTNET])
def test_synchronised_norms_keep_their_activation(name):
    net, same = build(name).eval(), build(name, norm="SyncBN").eval()
    assert any(isinstance(m, nn.SyncBatchNorm) for m in same.modules())
    for ours, theirs in zip(same(image()).values(), net(image()).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def trained(net):
    return {name.removeprefix("body.") for name, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("name", "freeze_at", "first"),
    [
        (CONVNEXT, 0, "stem_0.weight"),
        (CONVNEXT, 1, "stages_0.blocks.0.gamma"),
        (CONVNEXT, 2, "stages_1.downsample.0.weight"),
        (SWIN, 3, "layers_2.downsample.norm.weight"),
        (EFFICIENTNET, 1, "blocks.1.0.conv_pw.weight"),
        (EFFICIENTNET, 4, "blocks.5.0.conv_pw.weight"),
        ("timm/resnet18", 2, "layer2.0.conv1.weight"),
    ],
)
def test_freezing_stops_where_the_next_stage_begins(name, freeze_at, first):
    net = build(name)
    names = [n.removeprefix("body.") for n, _ in net.named_parameters()]
    net.freeze(freeze_at)
    assert trained(net) == set(names[names.index(first) :])
    net.train()(image())["res5"].sum().backward()
    for parameter in net.parameters():
        assert parameter.requires_grad == (parameter.grad is not None)


def test_frozen_norms_are_constants():
    net = build(EFFICIENTNET)
    net.freeze(2)
    before = copy.deepcopy(net.state_dict())
    net.train()(image())
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed and not any(n.startswith(("body.bn1", "body.blocks.1")) for n in changed)
    assert isinstance(net.body.bn1, FrozenBatchNorm2d)
    net.freeze(5)
    assert not trained(net)


def test_what_cannot_be_frozen_is_refused():
    with pytest.raises(ConfigError, match="^freeze_at: got 6, expected 0 to 5"):
        build(CONVNEXT).freeze(6)
    with pytest.raises(ConfigError, match="which modules of timm/hrnet_w18_small belong to res2"):
        build("timm/hrnet_w18_small").freeze(2)


# --- weights ---


@pytest.mark.parametrize("name", [CONVNEXT, SWIN, EFFICIENTNET])
def test_names_of_the_whole_model_are_understood(name):
    """A file holds what `timm.create_model(NAME).state_dict()` held."""
    model = timm.create_model(name.removeprefix("timm/"))
    net = build(name)
    state = net.own_names(model.state_dict())
    left = {name for name in state if name not in net.state_dict()}
    assert left and all("head" in n or "norm" in n or "bn2" in n or "class" in n for n in left)
    assert {name for name, _ in net.named_parameters()} <= set(state)
    for own, tensor in net.state_dict().items():
        assert state.get(own, tensor).shape == tensor.shape


def test_timms_weights_come_through_timm(tmp_path, monkeypatch):
    """As if downloaded: the hub is replaced by the weights of a second model."""
    other = timm.create_model("convnext_atto")

    def download(*args, **kwargs):
        return {name: tensor.clone() for name, tensor in other.state_dict().items()}

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", download)
    for weights in ("timm", "timm/d2_in1k"):
        net = build(CONVNEXT, weights=weights, norm="FrozenBN")
        assert torch.equal(net.body.stem_0.weight, other.stem[0].weight)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    with pytest.raises(WeightsError, match=r"^timm/a9: cannot get .*convnext_atto.a9 .*a9"):
        build(CONVNEXT, weights="timm/a9")

    def offline(*args, **kwargs):
        raise OSError("no route to host\nin many lines")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(WeightsError) as caught:
        build(CONVNEXT, weights="timm")
    assert "OSError: no route to host" in str(caught.value) and "\n" not in str(caught.value)


def test_pixels_are_those_of_the_weights():
    mean, std = timm_pixels("timm/convnext_tiny")
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert std == pytest.approx((58.395, 57.12, 57.375))
    mean, _ = timm_pixels("timm/resnetv2_50x1_bit", "timm/goog_in21k")
    assert mean == pytest.approx((127.5,) * 3)
    with pytest.raises(WeightsError, match="timm/a9"):
        timm_pixels("timm/convnext_tiny", "timm/a9")


# --- what cannot be built ---


def test_unknown_networks_and_options_are_refused():
    with pytest.raises(ConfigError, match="has no model 'convnext_tini'; did you mean convnext_"):
        build("timm/convnext_tini")
    with pytest.raises(ConfigError, match="^deformable: got .* supports only"):
        build(CONVNEXT, deformable=("res5",))
    with pytest.raises(ConfigError, match="^norm: got 'GN'"):
        build(CONVNEXT, norm="GN")
    with pytest.raises(ConfigError, match="cannot build it with these options: .*output_stride"):
        build(SWIN, output_stride=16)


def test_a_network_that_ignores_the_output_stride_is_refused(monkeypatch):
    """As timm 1.0.29 builds Swin, for one."""
    create = timm.create_model

    def ignoring(name, *, output_stride, **more):
        return create(name, **more)

    monkeypatch.setattr(timm, "create_model", ignoring)
    with pytest.raises(ConfigError, match=r"ignores output_stride 16, .* \[4, 8, 16, 32\]"):
        build(CONVNEXT, output_stride=16)


def test_a_refusal_without_a_reason_names_what_was_asked():
    with pytest.raises(
        ConfigError, match="these options: it refuses one of {.*'output_stride': 16.*}"
    ):
        build("timm/dla34", output_stride=16)


def test_a_network_without_such_maps_says_what_it_has():
    with pytest.raises(
        ConfigError, match=r"has none of them .* this network has strides \[16, 16, 16, 16"
    ):
        build("timm/vit_tiny_patch16_224", out_features=("res2", "res3", "res4", "res5"))
    with pytest.raises(ConfigError, match="got .'stem'.* has res2, res3, res4, res5"):
        build(CONVNEXT, out_features=["stem"])


def test_without_a_network_it_fails_at_once(monkeypatch, tmp_path):
    """huggingface_hub itself tries six times, in most of a minute."""
    constants = pytest.importorskip("huggingface_hub").constants

    def unknown(host, *_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(from_timm, "getproxies", dict)
    monkeypatch.setattr(from_timm.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("tried again"))
    with pytest.raises(WeightsError, match="cannot get timm's weights for resnet18.a1_in1k"):
        build_foreign("timm/resnet18", options=Options(), weights="timm/a1_in1k")
    assert constants.HF_HUB_OFFLINE is False
