"""Our networks as timm's and Hugging Face's users meet them, against timm's own."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights

timm = pytest.importorskip("timm")

import resnet_backbone.plugins.timm as plugin  # noqa: E402

RELATIVE = 1e-5


def image(channels=3, size=64):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def alive(model):
    """Gives every parameter and statistic a value that a wrong formula would show."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var") or tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def assert_same(found, wanted):
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= RELATIVE * float(wanted.abs().max())


def pairs(found, wanted):
    return zip(found, wanted, strict=True)


# --- against timm's own networks ---


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50d", "seresnet50"])
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_features_and_scores_are_timms(name, output_stride):
    options = {"output_stride": output_stride}
    theirs = alive(timm.create_model(name, **options))
    ours = timm.create_model(f"rb_{name}", **options).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert_same(ours(image()), theirs(image()))
        assert_same(ours.forward_features(image()), theirs.forward_features(image()))
        found, wanted = (m.forward_intermediates(image()) for m in (ours, theirs))
        assert_same(found[0], wanted[0])
        for our_map, their_map in pairs(found[1], wanted[1]):
            assert_same(our_map, their_map)

    assert [(row["num_chs"], row["reduction"], row["module"]) for row in ours.feature_info] == [
        (row["num_chs"], row["reduction"], row["module"]) for row in theirs.feature_info
    ]


@pytest.mark.parametrize("feature_cls", ["list", "getter"])
def test_features_only_gives_timms_maps(feature_cls):
    options = {"features_only": True, "out_indices": (1, 2, 3, 4)}
    theirs = alive(timm.create_model("resnet50", **options))
    model = timm.create_model("rb_resnet50", feature_cls=feature_cls, **options).eval()
    inner = model.model if feature_cls == "getter" else model
    inner.load_state_dict(theirs.state_dict(), strict=feature_cls == "list")
    assert model.feature_info.channels() == theirs.feature_info.channels()
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    with torch.no_grad():
        for found, wanted in pairs(model(image()), theirs(image())):
            assert_same(found, wanted)


@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "resnetv2_18", "resnet20_cifar"])
def test_features_of_the_traced_network_are_the_same(name):
    """timm's `feature_cls="fx"` finds the modules of `feature_info` in the graph."""
    nets = []
    for options in ({"feature_cls": "fx"}, {}):
        torch.manual_seed(0)
        nets.append(timm.create_model(f"rb_{name}", features_only=True, **options).eval())
    images = image()
    with torch.no_grad():
        for found, wanted in pairs(*(net(images) for net in nets)):
            assert torch.equal(found, wanted)


def test_every_network_of_the_table_is_there():
    names = {name.removeprefix("rb_") for name in timm.list_models("rb_*")}
    assert {"resnet50", "plain34", "resnet18_a", "resnetv2_50", "resnet20_cifar"} <= names
    assert "rb_resnet50.tv_in1k" in timm.list_models("rb_*", pretrained=True)


@pytest.mark.parametrize("name", ["resnet18_a", "plain18", "resnetv2_18", "resnet20_cifar"])
def test_networks_have_what_their_feature_info_says(name):
    net = timm.create_model(f"rb_{name}", features_only=True).eval()
    backbone = create_backbone(name, norm="BN").eval()
    backbone.load_state_dict(net.state_dict())
    with torch.no_grad():
        maps, ours = net(image()), list(backbone(image()).values())
    info = net.feature_info
    for feature, channels, stride in zip(maps, info.channels(), info.reduction(), strict=True):
        assert feature.shape == (2, channels, 64 // stride, 64 // stride)
    for found, wanted in pairs(maps[1:], ours):
        assert_same(found, wanted)


def test_intermediates_can_be_chosen():
    net = timm.create_model("rb_resnetv2_18").eval()
    with torch.no_grad():
        last, every = net.forward_intermediates(image())
        chosen = net.forward_intermediates(
            image(), indices=(1, 3), stop_early=True, intermediates_only=True
        )
        normed = net.forward_intermediates(image(), 1, norm=True, intermediates_only=True)
        assert torch.equal(last, net.forward_features(image()))
    assert len(every) == 5
    assert torch.equal(chosen[0], every[1]) and torch.equal(chosen[1], every[3])
    assert torch.equal(normed[0], last) and not torch.equal(every[4], last)
    with pytest.raises(ValueError, match="expected 'NCHW'"):
        net.forward_intermediates(image(), output_fmt="NLC")


# --- the head, the input, training ---


def test_the_head_can_be_replaced():
    net = timm.create_model("rb_resnet18", num_classes=10, in_chans=4, drop_rate=0.5)
    assert net(image(4)).shape == (2, 10)
    assert net.get_classifier() is net.fc and net.get_classifier(name_only=True) == "fc"
    pooled = net.eval().forward_head(net.forward_features(image(4)), pre_logits=True)
    assert torch.equal(net.get_classifier()(pooled), net(image(4)))
    net.reset_classifier(3, "max")
    assert (net.num_classes, net.global_pool.pool_type) == (3, "max")
    assert net(image(4)).shape == (2, 3)
    net.reset_classifier(0)
    assert net(image(4)).shape == (2, net.num_features) == (2, 512)
    net.reset_classifier(0, "")
    assert net(image(4)).shape == (2, 512, 2, 2)


def test_it_trains_with_timms_options():
    net = timm.create_model("rb_resnet18", num_classes=3, drop_path_rate=0.3, deformable=("res5",))
    net.set_grad_checkpointing()
    assert net.layer1.activation_checkpointing
    assert net.layer4[-1].drop_rate == 0.3
    net.train()(image()).sum().backward()
    assert all(p.grad is not None for n, p in net.named_parameters() if "layer1" in n)
    groups = timm.models.group_parameters(net, net.group_matcher())
    assert {name for group in groups.values() for name in group} == set(
        dict(net.named_parameters())
    )


@pytest.mark.parametrize("indices", [0, [0], [1, 2], 1, 2])
def test_what_is_not_needed_is_pruned_as_in_timms(indices):
    ours, theirs = timm.create_model("rb_resnet18"), timm.create_model("resnet18")
    ours.load_state_dict(alive(theirs).state_dict())
    indices = indices or [0]
    assert ours.prune_intermediate_layers(indices) == theirs.prune_intermediate_layers(indices)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    with torch.no_grad():
        options = {"indices": indices, "intermediates_only": True}
        found, wanted = (m.eval().forward_intermediates(image(), **options) for m in (ours, theirs))
    for our_map, their_map in pairs(found, wanted):
        assert_same(our_map, their_map)


def test_the_final_norm_can_be_pruned():
    net = timm.create_model("rb_resnetv2_18")
    net.prune_intermediate_layers(1, prune_norm=True, prune_head=False)
    assert net.norm is None and net(image()).shape == (2, 1000)


def test_maps_of_a_pruned_network_with_a_final_norm():
    net, whole = timm.create_model("rb_resnetv2_18"), timm.create_model("rb_resnetv2_18")
    net.load_state_dict(alive(whole).state_dict())
    net.prune_intermediate_layers([1, 2])
    with torch.no_grad():
        last, maps = net.eval().forward_intermediates(image(), [1, 2])
        wanted = whole.eval().forward_intermediates(image(), [1, 2], intermediates_only=True)
    for found, expected in pairs([*maps, last], [*wanted, wanted[-1]]):
        assert_same(found, expected)


def test_weights_can_be_drawn_again():
    net = alive(timm.create_model("rb_resnet18"))
    theirs = timm.create_model("resnet18")
    net.init_weights()
    for name, tensor in net.state_dict().items():
        if name.endswith("bn2.weight") or (tensor.dim() == 4 and tensor.numel() > 100_000):
            torch.testing.assert_close(
                tensor.std(), theirs.state_dict()[name].std(), rtol=0.02, atol=0
            )
    timm.create_model("rb_plain18").init_weights()  # where zeros would stay


def test_timms_attributes():
    for name in ("resnet18", "rb_resnet18"):
        net = timm.create_model(name, in_chans=5)
        assert (net.in_chans, net.grad_checkpointing) == (5, False)
        net.set_grad_checkpointing()
        assert net.grad_checkpointing


def test_input_and_pooled_size_are_those_of_the_network():
    for name in ("rb_resnet20_cifar", "rb_plain18", "rb_resnet18"):
        net = timm.create_model(name, num_classes=0, global_pool="")
        cfg = net.default_cfg
        with torch.no_grad():
            assert net(torch.zeros(1, *cfg["input_size"])).shape[2:] == cfg["pool_size"]
    assert timm.get_pretrained_cfg("rb_resnet20_cifar").input_size == (3, 32, 32)


# --- weights ---


def overlay(path, **more):
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path), **more}}


def test_a_file_of_timms_is_loaded(tmp_path):
    theirs = alive(timm.create_model("resnet18d"))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = timm.create_model("rb_resnet18d", **overlay(tmp_path / "model.safetensors")).eval()
    with torch.no_grad():
        assert_same(ours(image()), theirs(image()))
    fewer = timm.create_model(
        "rb_resnet18d", num_classes=5, in_chans=1, **overlay(tmp_path / "model.safetensors")
    )
    assert torch.equal(fewer.layer4[0].conv1.weight, theirs.layer4[0].conv1.weight)
    summed = theirs.conv1[0].weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(fewer.conv1[0].weight, summed)


def test_timms_names_for_v2_are_understood(tmp_path):
    theirs = alive(timm.create_model("resnetv2_50"))
    torch.save(theirs.state_dict(), tmp_path / "v2.pth")
    ours = timm.create_model("rb_resnetv2_50", **overlay(tmp_path / "v2.pth")).eval()
    with torch.no_grad():
        assert_same(ours(image()), theirs(image()))


@pytest.mark.parametrize("options", [{}, {"features_only": True}])
def test_a_file_that_does_not_fit_is_refused(tmp_path, options):
    """timm itself says nothing about missing weights if only features are wanted."""
    theirs = timm.create_model("resnet18")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="holds resnet18, expected resnet34"):
        timm.create_model("rb_resnet34", **overlay(tmp_path / "model.safetensors"), **options)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "resnet18",
            lambda s: s.pop("layer2.0.bn1.running_var"),
            "1 missing: layer2.0.bn1.running",
        ),
        ("resnet18", lambda s: s["layer1.0.bn1.running_mean"].fill_(float("nan")), "holds NaN"),
        ("resnet34", lambda s: None, "holds resnet34, expected resnet18"),
        ("resnet18d", lambda s: None, "holds resnet18d, expected resnet18"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"features_only": True}])
def test_weights_that_would_leave_something_wrong_are_refused(
    tmp_path, name, change, message, options
):
    state = dict(timm.create_model(name).state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=message):
        timm.create_model("rb_resnet18", **overlay(tmp_path / "model.pth"), **options)


@pytest.mark.parametrize(
    ("file", "beside"), [("resnetblur18.pth", {}), ("w.pth", {"args": {"model": "resnetblur18"}})]
)
def test_networks_that_only_fit_by_name_and_shape_are_refused(tmp_path, file, beside):
    state = timm.create_model("resnetblur18").state_dict()
    torch.save({"state_dict": state, **beside}, tmp_path / file)
    with pytest.raises(WeightsError, match="says resnetblur18, which is none of our networks"):
        timm.create_model("rb_resnet18", **overlay(tmp_path / file))


def test_classes_are_those_of_the_file_or_are_drawn(tmp_path, caplog):
    net = create_classifier("resnet18", num_classes=10)
    card = WeightsCard(channel_order="RGB", stride_in_1x1=False)
    save_weights(net, tmp_path / "ten.safetensors", card)
    cfg = plugin.pretrained_cfg(tmp_path / "ten.safetensors")
    found = timm.create_model("rb_resnet18", pretrained=True, pretrained_cfg_overlay=cfg)
    assert found.num_classes == 10 and torch.equal(found.fc.weight, net.fc.weight)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    headless = {name: t for name, t in net.state_dict().items() if not name.startswith("fc.")}
    torch.save(headless, tmp_path / "headless.pth")
    for file in ("ten.safetensors", "headless.pth"):  # timm's own default is 1000
        drawn = timm.create_model("rb_resnet18", **overlay(tmp_path / file))
        assert drawn.num_classes == 1000 and torch.equal(drawn.conv1.weight, net.conv1.weight)
        assert "drawn at random: 2 tensors, fc.weight, fc.bias" in caplog.text
        caplog.clear()


def test_files_that_are_known_by_their_name_are_judged_by_that(tmp_path):
    """OpenMMLab's copy of MSRA's weights, under torchvision's names."""
    state = create_backbone("resnet50", norm="BN").state_dict()
    torch.save(state, tmp_path / "resnet50_caffe-788b5fa3.pth")
    with pytest.raises(WeightsError, match="its card says BGR, but timm's models take RGB"):
        timm.create_model("rb_resnet50", **overlay(tmp_path / "resnet50_caffe-788b5fa3.pth"))


def test_weights_of_a_network_built_otherwise_are_refused(tmp_path):
    net = create_backbone("resnet50", norm="BN")
    cards = {"stride": {"stride_in_1x1": True}, "BGR": {"channel_order": "BGR"}}
    for name, facts in cards.items():
        save_weights(net, tmp_path / f"{name}.safetensors", WeightsCard(**facts))
    with pytest.raises(WeightsError, match="card says stride_in_1x1=True, but the network was"):
        timm.create_model("rb_resnet50", **overlay(tmp_path / "stride.safetensors"))
    with pytest.raises(WeightsError, match="its card says BGR, but timm's models take RGB"):
        timm.create_model("rb_resnet50", **overlay(tmp_path / "BGR.safetensors"))


def test_the_card_becomes_the_pretrained_cfg(tmp_path):
    net = create_backbone("resnet18", norm="BN")
    card = WeightsCard(
        arch="resnet18",
        layout="ours",
        stride_in_1x1=False,
        channel_order="RGB",
        mean=(127.5, 127.5, 127.5),
        std=(51.0, 51.0, 51.0),
        interpolation="bicubic",
        licence="MIT",
    )
    save_weights(net, tmp_path / "own.safetensors", card.to_metadata())
    cfg = plugin.pretrained_cfg(tmp_path / "own.safetensors")
    model = timm.create_model(
        "rb_resnet18", num_classes=4, pretrained=True, pretrained_cfg_overlay=cfg
    )
    assert torch.equal(model.layer1[0].conv1.weight, net.layer1[0].conv1.weight)
    found = timm.data.resolve_data_config(model.pretrained_cfg)
    assert (found["mean"], found["std"]) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert (found["interpolation"], model.pretrained_cfg["license"]) == ("bicubic", "MIT")

    for other in ({"channel_order": "BGR"}, {"stride_in_1x1": True}, {"norm_eps": 1e-3}):
        metadata = card.model_copy(update=other).to_metadata()
        save_weights(net, tmp_path / "other.safetensors", metadata)
        with pytest.raises(
            WeightsError, match=r"other.safetensors: needs .*, but timm's models have RGB"
        ):
            plugin.pretrained_cfg(tmp_path / "other.safetensors")


# --- Hugging Face ---


def test_hugging_face_finds_it_through_timm():
    transformers = pytest.importorskip("transformers")
    config = transformers.TimmBackboneConfig(backbone="rb_resnet18", out_indices=[1, 2, 3, 4])
    model = transformers.AutoBackbone.from_config(config).eval()
    assert model.channels == [64, 128, 256, 512]
    net = timm.create_model("rb_resnet18", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    net.load_state_dict(model._backbone.state_dict())
    with torch.no_grad():
        output = model(image(), output_hidden_states=True)
        for found, wanted in pairs(output.feature_maps, net(image())):
            assert torch.equal(found, wanted)
    assert len(output.hidden_states) == 5


def test_hugging_faces_detector_trains_on_it():
    transformers = pytest.importorskip("transformers")
    config = transformers.DetrConfig(
        use_timm_backbone=True,
        use_pretrained_backbone=False,
        backbone="rb_resnet18",
        backbone_config=None,
        num_queries=5,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_labels=3,
    )
    model = transformers.DetrForObjectDetection(config)
    labels = [
        {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    ] * 2
    loss = model(pixel_values=image(), labels=labels).loss
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("shortcut", "the network's name decides it"),
        ("nrom", "did you mean norm"),
        ("in_channels", "timm calls it 'in_chans'"),
        ("act_layer", "expected one of norm, norm_eps"),
    ],
)
def test_unknown_arguments_come_with_those_that_were_meant(argument, says):
    with pytest.raises(ConfigError, match=f"there is no argument '{argument}'; {says}"):
        timm.create_model("rb_resnet18", **{argument: 1})
