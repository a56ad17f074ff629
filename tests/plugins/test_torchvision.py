"""Our networks in torchvision: its detectors' backbones, its `get_model`, its names of weights."""

import functools

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.feature_extraction import get_graph_node_names

from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.plugins import torchvision as plugin
from resnet_backbone.plugins.torchvision import (
    DETECTORS,
    torchvision_backbone,
    torchvision_detector,
    torchvision_fpn_backbone,
)
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights

RELATIVE = 1e-5
SMALL = {"min_size": 64, "max_size": 96}


def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


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


def sample():
    """Two images between 0 and 1, as torchvision's detectors take them, with their targets."""
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[0, 8:40, 8:48] = 1
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 48.0, 40.0]]),
        "labels": torch.tensor([1]),
        "masks": masks,
    }
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 64, 64, generator=generator) for _ in range(2)], [target, dict(target)]


# --- the backbones ---


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_the_pyramid_is_torchvisions(name):
    theirs = alive(resnet_fpn_backbone(backbone_name=name, weights=None))
    ours = torchvision_fpn_backbone(name).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        found, wanted = ours(image()), theirs(image())
    assert list(found) == list(wanted) == ["0", "1", "2", "3", "pool"]
    for key in wanted:
        assert_same(found[key], wanted[key])
    assert ours.out_channels == theirs.out_channels == 256


@pytest.mark.parametrize("trainable_layers", range(6))
def test_the_same_layers_train(trainable_layers):
    """conv1's norm apart, which torchvision's FrozenBatchNorm2d makes a buffer as ours does."""
    options = {"trainable_layers": trainable_layers}
    theirs = resnet_fpn_backbone(backbone_name="resnet18", weights=None, **options)
    ours = torchvision_fpn_backbone("resnet18", **options)
    wanted, found = (
        {n for n, p in m.named_parameters() if p.requires_grad} for m in (theirs, ours)
    )
    assert found == wanted


def test_one_map_without_a_neck():
    backbone = torchvision_backbone("resnet18", output_stride=16)
    features = backbone(image())
    assert list(features) == ["0"] and features["0"].shape == (2, 512, 4, 6)
    assert backbone.out_channels == 512
    assert torchvision_backbone("resnet18", returned_layer=3).out_channels == 256

    anchors = AnchorGenerator(sizes=((16, 32, 64),), aspect_ratios=((0.5, 1.0, 2.0),))
    roi_pool = torchvision.ops.MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2)
    detector = FasterRCNN(backbone, 2, rpn_anchor_generator=anchors, box_roi_pool=roi_pool, **SMALL)
    assert torch.isfinite(sum(detector(*sample()).values()))


def test_timms_networks_carry_a_pyramid_too():
    pytest.importorskip("timm")
    features = torchvision_fpn_backbone("timm/convnext_atto", returned_layers=(2, 3, 4))(image())
    assert [tuple(each.shape[2:]) for each in features.values()] == [
        (8, 12),
        (4, 6),
        (2, 3),
        (1, 2),
    ]


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="^trainable_layers: got 6, expected 0 to 5"):
        torchvision_fpn_backbone("resnet18", trainable_layers=6)
    with pytest.raises(ConfigError, match="res6"):
        torchvision_fpn_backbone("resnet18", returned_layers=(5,))


# --- the detectors ---


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("fasterrcnn", FasterRCNN), ("maskrcnn", MaskRCNN), ("retinanet", RetinaNet), ("fcos", FCOS)],
)
def test_torchvisions_detectors_train_and_detect(kind, cls):
    torch.manual_seed(0)
    model = torchvision.models.get_model(f"rb_{kind}_resnet18_fpn", num_classes=3, **SMALL)
    assert type(model) is cls
    images, targets = sample()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.backbone.parameters())
    optimizer.step()
    detections = model.eval()([torch.rand(3, 50, 70), torch.rand(3, 80, 60)])
    assert len(detections) == 2
    assert {"boxes", "labels", "scores"} <= set(detections[0])
    assert ("masks" in detections[0]) == (kind == "maskrcnn")


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_detector_of_torchvisions_is_loaded_whole(kind, tmp_path):
    """The heads are torchvision's own code, so equal maps and weights give equal detections."""
    build = torchvision.models.get_model_builder(f"{kind}_resnet50_fpn")
    theirs = alive(build(weights=None, weights_backbone=None, num_classes=3))
    file = tmp_path / "detector.safetensors"
    save_file(theirs.state_dict(), file)
    ours = torchvision.models.get_model(f"rb_{kind}_resnet50_fpn", weights=file, num_classes=3)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
    with torch.no_grad():
        found, wanted = (model.eval().backbone(image()) for model in (ours, theirs))
    assert list(found) == list(wanted)
    for key in wanted:
        assert_same(found[key], wanted[key])

    with pytest.raises(WeightsError, match=r"detector.safetensors: does not fit the detector: .*"):
        torchvision.models.get_model(f"rb_{kind}_resnet18_fpn", weights=file, num_classes=3)


@pytest.mark.parametrize("kind", DETECTORS)
def test_layers_of_other_classes_are_drawn(kind, tmp_path, caplog):
    create = functools.partial(torchvision.models.get_model, f"rb_{kind}_resnet18_fpn")
    theirs = alive(create(num_classes=3)).state_dict()
    torch.save(theirs, tmp_path / "three.pth")
    ours = create(weights=tmp_path / "three.pth", num_classes=5).state_dict()
    drawn = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert drawn == {name for name in ours if name.startswith(plugin._CLASS_LAYERS)}
    assert {n for n in ours if ours[n].shape != theirs[n].shape} == drawn
    assert f"another number of classes; drawn at random: {len(drawn)} tensors" in caplog.text


@pytest.mark.parametrize("kind", DETECTORS)
def test_options_of_the_backbone_reach_it_and_those_of_torchvision_the_detector(kind):
    model = torchvision.models.get_model(
        f"rb_{kind}_resnet50_fpn",
        num_classes=3,
        deformable=("res5",),
        stride_in_1x1=True,
        norm="GN",
        progress=False,
        min_size=70,
        size_divisible=64,
    )
    body = model.backbone.body
    assert isinstance(body.layer4[0].conv2, DeformConv2d)
    assert body.layer2[0].conv1.stride == (2, 2)
    assert isinstance(body.bn1, torch.nn.GroupNorm)
    assert model.transform.min_size == (70,) and model.transform.size_divisible == 64


@pytest.mark.parametrize(
    ("name", "argument", "hint"),
    [
        ("rb_fasterrcnn_resnet18_fpn", "deformabel", "did you mean deformable?"),
        ("rb_maskrcnn_resnet18_fpn", "min_sizes", "did you mean min_size"),
        ("rb_fcos_resnet18_fpn", "rpn_score_thresh", "did you mean score_thresh"),
        ("rb_retinanet_resnet18_fpn", "x", "expected one of norm, norm_eps"),
        ("rb_resnet18", "stride_in_1x11", "did you mean stride_in_1x1?"),
        ("rb_resnet18", "replace_stride_with_dilation", "there is no argument"),
    ],
)
def test_arguments_that_nothing_would_look_at_are_refused(name, argument, hint):
    """torchvision's detectors drop them."""
    with pytest.raises(ConfigError, match=rf"^{name}: there is no argument '{argument}'") as caught:
        torchvision.models.get_model(name, **{argument: 1})
    assert hint in str(caught.value)
    with pytest.raises(
        ConfigError, match="^resnet18: there is no argument 'norn'; did you mean nor"
    ):
        torchvision_fpn_backbone("resnet18", norn="BN")


def test_what_an_unknown_file_needs_can_be_given(tmp_path, caplog):
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / "mine.pth")
    create = functools.partial(
        torchvision.models.get_model,
        "rb_fasterrcnn_resnet50_fpn",
        weights_backbone=tmp_path / "mine.pth",
    )
    with pytest.raises(ConfigError, match="mine.pth: nothing is known .* set stride_in_1x1"):
        create()
    model = create(stride_in_1x1=False, image_mean=[0.5] * 3)
    assert model.transform.image_mean == [0.5] * 3
    assert "nothing is known about its pixels; torchvision's mean and deviation" in caplog.text


def test_the_card_of_a_whole_detector_is_heeded(tmp_path):
    state = torchvision_detector("fasterrcnn", "resnet50", num_classes=3).state_dict()
    facts = {"mean": (127.5,) * 3, "std": (127.5,) * 3, "norm_eps": 1e-3, "stride_in_1x1": True}
    for order in ("RGB", "BGR"):
        path = tmp_path / f"{order}.safetensors"
        save_weights(state, path, WeightsCard(channel_order=order, **facts))
    create = functools.partial(torchvision_detector, "fasterrcnn", "resnet50", num_classes=3)
    model = create(weights=tmp_path / "RGB.safetensors")
    assert model.transform.image_mean == [0.5] * 3
    assert model.backbone.body.bn1.eps == 1e-3
    assert model.backbone.body.layer2[0].conv1.stride == (2, 2)
    with pytest.raises(ConfigError, match="stride_in_1x1: got False, but the card says True"):
        create(weights=tmp_path / "RGB.safetensors", stride_in_1x1=False)
    with pytest.raises(WeightsError, match=r"BGR.safetensors: its card says BGR, but .*--fold RGB"):
        create(weights=tmp_path / "BGR.safetensors")


# --- what others do with torchvision's networks ---


def batch(size):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["resnet18", "resnet18d", "resnetv2_18", "resnet20_cifar"])
def test_children_one_after_the_other_compute_the_network(name):
    """The commonest ways to take features of torchvision's networks."""
    net = alive(torchvision.models.get_model(f"rb_{name}", num_classes=7))
    *trunk, fc = net.children()
    layers = {f"layer{i}": f"layer{i}" for i in range(1, len(net.out_features) + 1)}
    with torch.no_grad():
        pooled = torch.nn.Sequential(*trunk)(batch(33))
        assert pooled.shape == (2, fc.in_features, 1, 1)
        assert torch.equal(fc(pooled.flatten(1)), net(batch(33)))
        found = IntermediateLayerGetter(net, layers)(batch(33))
        for feature, tensor in zip(net.features(batch(33)).values(), found.values(), strict=True):
            assert torch.equal(feature, tensor)


def test_the_children_of_a_backbone_with_frozen_norms():
    net = alive(create_backbone("resnet18"))
    found = IntermediateLayerGetter(net, {"layer1": "res2", "layer4": "res5"})
    with torch.no_grad():
        expected, maps = net(batch(64)), found(batch(64))
    for stage, tensor in maps.items():
        assert_same(tensor, expected[stage])


def test_the_children_are_torchvisions():
    ours = torchvision.models.get_model("rb_resnet18")
    theirs = torchvision.models.resnet18()
    assert [name for name, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]


# --- weights and pixels ---


def stored(tmp_path, **facts):
    net = alive(create_backbone("resnet50", norm="BN"))
    card = WeightsCard(arch="resnet50", layout="ours", **facts)
    save_weights(net, tmp_path / "net.safetensors", card.to_metadata())
    return tmp_path / "net.safetensors"


def test_the_card_decides_on_pixels_order_and_stride(tmp_path):
    """Weights for BGR see the same image, although torchvision gives RGB."""
    bgr = {"channel_order": "BGR", "mean": (103.53, 116.28, 123.675), "std": (1.0, 1.0, 1.0)}
    path = stored(tmp_path, stride_in_1x1=True, **bgr)
    model = torchvision.models.get_model(
        "rb_fasterrcnn_resnet50_fpn", weights_backbone=path, num_classes=3, **SMALL
    )
    assert model.transform.image_mean == pytest.approx([v / 255 for v in (123.675, 116.28, 103.53)])
    assert model.transform.image_std == pytest.approx([1 / 255] * 3)

    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
    wanted = create_backbone("resnet50", weights=path, stride_in_1x1=True)
    mean = torch.tensor(bgr["mean"])[:, None, None]
    normalised, _ = model.transform([pixels[0] / 255])
    with torch.no_grad():
        found = model.backbone.body(normalised.tensors)
        for name, feature in wanted(pixels.flip(1) - mean).items():
            assert_same(found[name], feature)


def test_the_cards_facts_reach_network_and_detector(tmp_path):
    facts = {"channel_order": "RGB", "mean": (127.5,) * 3, "std": (127.5,) * 3}
    path = stored(tmp_path, stride_in_1x1=True, norm_eps=1e-3, **facts)
    with pytest.raises(ConfigError, match="stride_in_1x1: got False, but the card says True"):
        torchvision_fpn_backbone("resnet50", weights=path, stride_in_1x1=False)
    backbone = torchvision_fpn_backbone("resnet50", weights=path)
    assert backbone.body.layer2[0].conv1.stride == (2, 2)
    assert backbone.body.bn1.eps == 1e-3
    assert backbone.pixels == {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert torchvision_fpn_backbone("resnet18").pixels == {}


def test_torchvisions_own_names_of_weights(monkeypatch):
    theirs = torchvision.models.resnet18()

    def download(url, **_unused):
        assert url == torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
        return theirs.state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    names = ("IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1")
    for weights in (entry, *names, "torchvision/IMAGENET1K_V1"):
        backbone = torchvision_fpn_backbone("resnet18", weights=weights)
        assert torch.equal(backbone.body.conv1.weight, theirs.conv1.weight)
        assert backbone.pixels["image_mean"] == pytest.approx([0.485, 0.456, 0.406])
    classifier = torchvision.models.get_model("rb_resnet18", weights="IMAGENET1K_V1")
    assert torch.equal(classifier.fc.weight, theirs.fc.weight)


# --- get_model ---


def test_classifiers_are_torchvisions():
    theirs = alive(torchvision.models.get_model("resnet18", num_classes=7))
    ours = torchvision.models.get_model("rb_resnet18", weights=None, num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert_same(ours(image()), theirs(image()))


def test_every_network_is_listed():
    names = set(torchvision.models.list_models(include="rb_*"))
    assert {"rb_resnet50d", "rb_plain34", "rb_resnet20_cifar", "rb_fcos_resnetv2_50_fpn"} <= names
    assert "rb_fcos_resnet20_cifar_fpn" not in names  # three stages make no pyramid
    assert torchvision.models.get_model("rb_resnet20_cifar", num_classes=10).fc.out_features == 10


def test_its_tools_find_the_weights_of_networks_of_the_same_name():
    for name in ("resnet18", "resnext101_64x4d", "wide_resnet50_2"):
        expected = torchvision.models.get_model_weights(name)
        assert torchvision.models.get_model_weights(f"rb_{name}") is expected
    with pytest.raises(ValueError, match="couldn't be retrieved"):  # torchvision has none
        torchvision.models.get_model_weights("rb_resnet50d")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_nodes_of_the_graph_have_torchvisions_names(name):
    """The ones that its documentation selects features by, such as layer4.2.relu_2."""
    models = [torchvision.models.get_model(prefix + name).eval() for prefix in ("rb_", "")]
    nodes = [get_graph_node_names(model)[1] for model in models]
    ours, theirs = ([n for n in each if n.startswith("layer")] for each in nodes)
    assert ours == theirs
