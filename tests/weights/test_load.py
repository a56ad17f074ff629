"""Loading: complete or refused, with the reason."""

import urllib.error

import pytest
import torch
import torchvision
from torch import nn

import resnet_backbone
from resnet_backbone.create import create_backbone, create_res5
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import read_weights


@pytest.fixture(scope="module")
def torchvision_states():
    torch.manual_seed(1)
    names = ("resnet18", "resnet34", "resnet50", "resnet101")
    return {name: getattr(torchvision.models, name)().state_dict() for name in names}


@pytest.fixture
def write(tmp_path):
    def write(state, name="w.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return write


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_unchanged(module, before):
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "SyncBN"])
def test_a_torchvision_file_loads_completely(torchvision_states, write, norm):
    state = torchvision_states["resnet18"]
    net = create_backbone("resnet18", norm=norm, weights=write(state))
    report = load_weights(net, write(state))
    assert report.missing == report.unexpected == report.mismatched == ()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert set(net.state_dict()) == set(report.loaded)
    assert net.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_public_name():
    assert resnet_backbone.load_weights is load_weights


def test_a_pruned_backbone_and_the_res5_head_share_a_file(torchvision_states, write):
    state = torchvision_states["resnet50"]
    path = write(state)
    report = load_weights(create_backbone("resnet50", out_features=("res4",)), path)
    assert report.unexpected and all(n.startswith("layer4.") for n in report.unexpected)
    head = create_res5("resnet50")
    load_weights(head, path, prefix="layer4.")
    assert torch.equal(head[2].conv3.weight, state["layer4.2.conv3.weight"])


def test_the_backbone_of_our_detectors_is_found(tmp_path):
    source = create_backbone("resnet18")
    tensors = {f"backbone.{k}": v for k, v in source.state_dict().items()}
    tensors["rpn.conv.weight"] = torch.ones(1)
    save_weights(tensors, tmp_path / "model.safetensors", {})
    net = create_backbone("resnet18", weights=tmp_path / "model.safetensors")
    assert_unchanged(net, source.state_dict())


def test_whole_modules_load_with_their_own_names(tmp_path):
    detector = nn.ModuleDict({"backbone": create_backbone("resnet18"), "head": nn.Linear(2, 3)})
    detector.register_buffer("mean", torch.ones(3))
    save_weights(detector, tmp_path / "w.safetensors", {})
    before = snapshot(detector)
    nn.init.zeros_(detector["head"].weight)
    report = load_weights(detector, tmp_path / "w.safetensors")
    assert_unchanged(detector, before)
    assert "mean" in report.loaded


def test_buffers_that_are_no_statistics_may_be_missing(write):
    module = nn.Linear(2, 3)
    path = write(module.state_dict())
    module.register_buffer("mean", torch.ones(3))
    assert load_weights(module, path).missing == ()


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize(
    "name", ["layer1.0.conv1.weight", "bn1.weight", "bn1.running_mean", "layer4.1.bn2.running_var"]
)
def test_one_missing_tensor_is_refused_and_nothing_changed(torchvision_states, write, name, norm):
    net = create_backbone("resnet18", norm=norm)
    before = snapshot(net)
    state = {k: v for k, v in torchvision_states["resnet18"].items() if k != name}
    with pytest.raises(
        WeightsError, match=rf"w\.pth: does not cover the model; .* 1 missing: {name}"
    ):
        load_weights(net, write(state))
    assert_unchanged(net, before)


def test_a_missing_counter_is_no_loss(torchvision_states, write):
    state = {k: v for k, v in torchvision_states["resnet18"].items() if "tracked" not in k}
    assert load_weights(create_backbone("resnet18", norm="BN"), write(state)).missing == ()


def test_allow_partial_names_what_may_be_missing_or_misshapen(torchvision_states, write):
    state = {k: v for k, v in torchvision_states["resnet18"].items() if "layer4" not in k}
    state["conv1.weight"] = torch.ones(64, 3, 5, 5)
    path = write(state)
    net = create_backbone("resnet18")
    with pytest.raises(WeightsError, match=r"conv1\.weight \[64, 3, 5, 5\] for \[64, 3, 7, 7\]"):
        load_weights(net, path, allow_partial=["layer4.*"])
    with pytest.raises(WeightsError, match=r"layer4\.0\.conv1\.weight"):
        load_weights(net, path, allow_partial=["conv1.weight", "layer3.*"])
    before = snapshot(net)
    report = load_weights(net, path, allow_partial=["layer4.*", "conv1.weight"])
    assert report.mismatched == (("conv1.weight", (64, 3, 5, 5), (64, 3, 7, 7)),)
    assert all(name.startswith("layer4.") for name in report.missing)
    assert torch.equal(net.conv1.weight, before["conv1.weight"])
    assert torch.equal(net.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ("resnet34", "resnet50"),  # the same numbers of blocks, of another kind
        ("resnet34", "resnet18"),  # holds every tensor that the smaller one needs, in its shape
        ("resnet101", "resnet50"),
        ("resnet50", "resnet101"),
    ],
)
def test_another_depth_is_refused_by_name(torchvision_states, write, held, expected):
    net = create_backbone(expected)
    before = snapshot(net)
    with pytest.raises(WeightsError, match=rf"w\.pth: holds {held}, expected {expected} \("):
        load_weights(net, write(torchvision_states[held]))
    assert_unchanged(net, before)


def test_another_depth_is_refused_where_its_difference_is_not_built(torchvision_states, write):
    net = create_backbone("resnet50", out_features=("res3",))
    with pytest.raises(WeightsError, match="holds resnet101, expected resnet50"):
        load_weights(net, write(torchvision_states["resnet101"]))


def test_batch_normalised_weights_into_group_norm(torchvision_states, write):
    with pytest.raises(WeightsError, match=r"normalises without statistics \(bn1\.running_mean"):
        load_weights(create_backbone("resnet18", norm="GN"), write(torchvision_states["resnet18"]))


def test_group_normalised_weights_into_batch_norm(write):
    path = write(create_backbone("resnet18", norm="GN").state_dict())
    with pytest.raises(WeightsError, match=r"bn1\.running_mean"):
        load_weights(create_backbone("resnet18", norm="FrozenBN"), path)


def test_a_file_of_something_else(write):
    with pytest.raises(
        WeightsError,
        match="its names are of no layout that we know; it begins with embed",
    ):
        load_weights(create_backbone("resnet18"), write({"embed": torch.ones(3)}))


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("conv1.weight", torch.full((64, 3, 7, 7), float("nan")), "holds NaN or infinity"),
        (
            "conv1.weight",
            torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64),
            "holds NaN or infinity",
        ),
        ("bn1.running_var", -torch.ones(64), "holds negative variances"),
        ("conv1.weight", torch.ones(64, 3, 7, 7).to(torch.int8), "is torch.int8, expected"),
    ],
)
def test_values_that_no_network_has(torchvision_states, write, name, tensor, reason):
    net = create_backbone("resnet18")
    before = snapshot(net)
    with pytest.raises(WeightsError, match=rf"w\.pth: {name} {reason}"):
        load_weights(net, write({**torchvision_states["resnet18"], name: tensor}))
    assert_unchanged(net, before)


def test_half_precision_files_are_converted(torchvision_states, write):
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in torchvision_states["resnet18"].items()
    }
    net = create_backbone("resnet18", weights=write(state))
    assert net.conv1.weight.dtype == torch.float32
    assert torch.equal(net.conv1.weight, state["conv1.weight"].float())


def test_torchvisions_weights_by_name(torchvision_states, monkeypatch):
    calls = []

    def download(url, **arguments):
        calls.append((url, arguments))
        return torchvision_states["resnet18"]

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    net = create_backbone("resnet18", weights="torchvision/IMAGENET1K_V1")
    assert torch.equal(net.conv1.weight, torchvision_states["resnet18"]["conv1.weight"])
    head = create_res5("resnet18")
    load_weights(head, "torchvision/IMAGENET1K_V1", arch="resnet18", prefix="layer4.")
    expected = {"map_location": "cpu", "check_hash": True, "weights_only": True}
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    assert calls == [(url, expected)] * 2


def test_torchvisions_detector_by_name(monkeypatch):
    """`model.weights=torchvision/maskrcnn_resnet50_fpn` is the detector, with its pixels."""
    name = "maskrcnn_resnet50_fpn"
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()
    calls = []

    def download(url, **_arguments):
        calls.append(url)
        return theirs

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    stored = read_weights(f"torchvision/{name}", "resnet50")
    assert calls == [torchvision.models.get_model_weights(name).COCO_V1.url]
    assert (stored.kind, stored.layout, stored.card.norm_eps) == ("detector", "torchvision", 0)
    assert torch.equal(
        stored.tensors["backbone.conv1.weight"], theirs["backbone.body.conv1.weight"]
    )
    net = create_backbone("resnet50", norm="FrozenBN", weights=f"torchvision/{name}")
    assert net.layer4[2].bn3.eps == 0


def test_torchvisions_weights_offline(monkeypatch, tmp_path):
    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(WeightsError, match="cannot get https://.*no route.*give a file.*=null"):
        create_backbone("resnet18", weights="torchvision/IMAGENET1K_V1")


def test_a_damaged_download_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    cached = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"<html>login</html>")
    with pytest.raises(WeightsError, match=r"cannot get https://.*\(UnpicklingError"):
        create_backbone("resnet18", weights="torchvision/IMAGENET1K_V1")


def test_unknown_torchvision_weights():
    with pytest.raises(WeightsError, match=r"no such weights for resnet50, expected one of \['IM"):
        load_weights(create_backbone("resnet50"), "torchvision/IMAGENET1K_V9")
    with pytest.raises(WeightsError, match="torchvision has no architecture 'resnet9'"):
        load_weights(nn.Linear(1, 1), "torchvision/IMAGENET1K_V1", arch="resnet9")


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_the_first_convolution_is_adapted_to_other_inputs(torchvision_states, write, channels):
    timm = pytest.importorskip("timm")
    state = torchvision_states["resnet18"]
    net = create_backbone("resnet18", in_channels=channels)
    report = load_weights(net, write(state))
    expected = timm.models.adapt_input_conv(channels, state["conv1.weight"])
    torch.testing.assert_close(net.conv1.weight, expected)
    assert report.reshaped == (("conv1.weight", (64, 3, 7, 7), (64, channels, 7, 7)),)
    assert "1 adapted: conv1.weight [64, 3, 7, 7]" in str(report)


def test_offsets_may_be_missing_all_together_but_not_in_part(torchvision_states, write):
    net = create_backbone("resnet18", deformable=("res5",), norm="BN")
    assert load_weights(net, write(torchvision_states["resnet18"])).missing == ()
    state = net.state_dict()
    del state["layer4.1.conv2.offset.bias"]
    with pytest.raises(WeightsError, match=r"1 missing: layer4\.1\.conv2\.offset\.bias"):
        load_weights(net, write(state))


def test_the_report_carries_the_card(tmp_path):
    net = create_backbone("resnet18", norm="BN")
    card = WeightsCard(arch="resnet18", channel_order="BGR", mean=(1, 2, 3), std=(4, 5, 6))
    save_weights(net, tmp_path / "w.safetensors", card)
    assert load_weights(net, tmp_path / "w.safetensors").card == card
    assert resnet_backbone.read_card(tmp_path / "w.safetensors") == card
