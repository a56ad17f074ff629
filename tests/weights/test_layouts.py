"""Names against the frameworks' own state dicts, and every direction there and back."""

import importlib

import pytest
import torch
import torchvision
from framework_names import recorded

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.layouts import BACKBONES, FOLDED_VARIANCE, from_ours, to_ours
from resnet_backbone.weights.targets import TARGETS

WRITABLE = sorted(name for name, layout in BACKBONES.items() if layout.writable and "-" not in name)


def classifier_state(name):
    return create_classifier(name).state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("layout", WRITABLE)
def test_there_and_back_nothing_changes(layout, name):
    state = classifier_state(name)
    theirs = from_ours(state, layout)
    back = to_ours(theirs, "f")
    assert list(back.tensors) == list(state)  # the order too
    assert_same(back.tensors, state)
    assert back.kind == "backbone"
    again = from_ours(back.tensors, layout)
    assert list(again) == list(theirs)
    assert_same(again, theirs)


# --- everything that is written, against the frameworks' own classes ---

RECORDED = [(layout, net) for layout, nets in recorded("backbones").items() for net in nets]
INSTALLED = [
    (layout, net) for layout in ("torchvision", "timm") for net in TARGETS[layout].networks
]


def meta_state(network):
    """Names and shapes alone, which make a strict loading succeed or fail."""
    name, _, what = network.partition(" ")
    options = {"norm": what} if what == "GN" else {"deformable": (what,)} if what else {}
    with torch.device("meta"):
        return create_classifier(name, **options).state_dict()


def shapes(state):
    return {name: list(tensor.shape) for name, tensor in state.items()}


def own_shapes(layout, network):
    """What the framework's own class has."""
    if layout in recorded("backbones"):
        return recorded("backbones")[layout][network]
    library = torchvision.models if layout == "torchvision" else pytest.importorskip("timm")
    create = library.get_model if layout == "torchvision" else library.create_model
    with torch.device("meta"):
        return shapes(create(network).state_dict())


@pytest.mark.parametrize(("layout", "network"), [*RECORDED, *INSTALLED])
def test_every_network_is_written_by_the_names_of_the_frameworks_own_class(layout, network):
    state = meta_state(network)
    theirs = from_ours(state, layout)
    found, expected = shapes(theirs), own_shapes(layout, network)
    # Not part of the recorded classes: classifiers, and the counters that frozen norms lack.
    absent = {"detectron2": ("linear.",), "mmpretrain": ("head.",), "mmdet": ("head.",)}
    found = {n: shape for n, shape in found.items() if not n.startswith(absent.get(layout, "-"))}
    if layout == "detectron2":
        found = {n: shape for n, shape in found.items() if "num_batches_tracked" not in n}
    assert found == expected
    assert list(to_ours(theirs, "f").tensors) == list(state)


def test_no_network_of_a_target_is_left_untested():
    tested = [*RECORDED, *INSTALLED]
    for layout, target in TARGETS.items():
        assert {net for name, net in tested if name == layout and " " not in net} == {
            *target.networks
        }
        for what, able in (("GN", target.group_norm), ("res5", target.deformable)):
            if layout in recorded("backbones"):
                assert any(net.endswith(what) for n, net in tested if n == layout) == bool(able)


def test_torchvisions_names():
    theirs = torchvision.models.resnet18().state_dict()
    found = to_ours(theirs, "f")
    assert found.layout == "torchvision"
    assert found.tensors.keys() == theirs.keys()


@pytest.mark.parametrize("name", ["resnet50", "resnet50d", "seresnet50", "resnetv2_50"])
def test_timms_names(name):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(name).state_dict()
    found = to_ours(theirs, "f")
    expected = classifier_state(name)
    assert found.tensors.keys() == expected.keys()
    assert all(tensor.shape == expected[key].shape for key, tensor in found.tensors.items())
    assert_same(from_ours(found.tensors, "timm"), theirs)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("bare", [False, True])
def test_hugging_faces_names(kind, bare):
    transformers = pytest.importorskip("transformers")
    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    depths = [2, 2, 2, 2] if kind == "basic" else [3, 4, 6, 3]
    config = transformers.ResNetConfig(
        depths=depths, hidden_sizes=widths, layer_type=kind, num_labels=1000
    )
    model = (transformers.ResNetModel if bare else transformers.ResNetForImageClassification)(
        config
    )
    found = to_ours(model.state_dict(), "f")
    assert found.layout == "transformers"
    expected = classifier_state("resnet18" if kind == "basic" else "resnet50").keys()
    assert found.tensors.keys() == {n for n in expected if not (bare and n.startswith("fc."))}
    if not bare:
        assert_same(from_ours(found.tensors, "transformers"), model.state_dict())


@pytest.mark.parametrize(("depth", "deformable"), [(18, False), (50, False), (50, True)])
def test_detectron2s_names(depth, deformable):
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    if depth == 18:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    if deformable:
        cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, True]
        cfg.MODEL.RESNETS.DEFORM_MODULATED = True
        if not importlib.util.find_spec("detectron2._C"):
            pytest.skip("detectron2's deformable convolution is not compiled")
    model = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    found = to_ours(model.state_dict(), "f")
    assert found.layout == "detectron2"
    net = create_backbone(f"resnet{depth}", deformable=("res5",) if deformable else ()).eval()
    net.load_state_dict(found.tensors)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = net(images), model(images)
    for name, feature in ours.items():
        assert (feature - theirs[name]).abs().max() < 1e-5 * theirs[name].abs().max()


def caffe2_blobs(name, *, group_norm=False):
    """A Caffe2 file of a network's tensors, with norms as Detectron's pickles have them."""
    state = create_classifier(name, norm="GN" if group_norm else "BN").state_dict()
    kind = "gn" if group_norm else "bn"
    blobs, expected = {}, {}
    for key, tensor in state.items():
        if "running" in key or "tracked" in key:
            continue
        tensor = torch.randn_like(tensor)
        expected[key] = tensor
        blobs[_caffe2_name(key, kind)] = tensor
    return blobs, expected


def _caffe2_name(key, kind):
    suffix = {"weight": "w", "bias": "b"}[key.rpartition(".")[2]]
    if key.startswith("fc."):
        return f"fc1000_{suffix}"
    norm = suffix.replace("w", "s")
    if key.startswith("conv1."):
        return "conv1_w"
    if key.startswith("bn1."):
        return f"conv1_gn_{norm}" if kind == "gn" else f"res_conv1_bn_{norm}"
    layer, block, part, *rest = key.split(".")
    place = f"res{int(layer[-1]) + 1}_{block}_branch"
    if part == "downsample":
        return f"{place}1_w" if rest[0] == "0" else f"{place}1_{kind}_{norm}"
    letter = "abc"[int(part[-1]) - 1]
    return f"{place}2{letter}_w" if part.startswith("conv") else f"{place}2{letter}_{kind}_{norm}"


@pytest.mark.parametrize("group_norm", [False, True])
def test_caffe2s_names(group_norm):
    blobs, expected = caffe2_blobs("resnet50", group_norm=group_norm)
    blobs["conv1_b"] = torch.zeros(64)
    found = to_ours(blobs, "R-50.pkl")
    assert found.layout == "caffe2"
    assert list(found.ignored) == ["conv1_b"]
    for key, tensor in expected.items():
        assert torch.equal(found.tensors.pop(key), tensor)
    assert bool(found.tensors) != group_norm
    for key, tensor in found.tensors.items():
        value = 0.0 if key.endswith("running_mean") else FOLDED_VARIANCE
        assert (tensor == value).all()


def test_caffe2s_names_as_detectron2_reads_them():
    pytest.importorskip("detectron2")
    from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

    blobs, _ = caffe2_blobs("resnet50")
    theirs, _ = convert_c2_detectron_names(blobs)
    expected = to_ours({k: t for k, t in theirs.items() if not k.startswith("linear")}, "f").tensors
    found = to_ours(blobs, "f").tensors
    assert all(
        torch.equal(found[key], tensor) for key, tensor in expected.items() if "fc" not in key
    )


def test_a_convolutions_bias_is_not_lost_silently():
    blobs, _ = caffe2_blobs("resnet50")
    blobs["res2_0_branch2a_b"] = torch.ones(64)
    with pytest.raises(WeightsError, match="R-50: res2_0_branch2a_b is a convolution's bias"):
        to_ours(blobs, "R-50")


@pytest.mark.parametrize("layout", ["mmpretrain", "mmdet"])
@pytest.mark.parametrize("network", ["resnet18d", "resnet50d", "resnet50c GN", "resnet50 res5"])
def test_openmmlabs_names_without_their_prefix(layout, network):
    state = {n: t for n, t in meta_state(network).items() if not n.startswith("fc.")}
    theirs = from_ours(state, layout)
    bare = {name.removeprefix("backbone."): tensor for name, tensor in theirs.items()}
    assert list(to_ours(bare, "f").tensors) == list(state)


def test_cifars_names():
    """akamaster's: `linear`; kuangliu's option B: `shortcut`."""
    net = create_classifier("resnet20_cifar", num_classes=10).state_dict()
    theirs = from_ours(net, "cifar")
    assert theirs.keys() - net.keys() == {"linear.weight", "linear.bias"}
    assert to_ours(theirs, "f").layout == "cifar"
    shortcuts = create_backbone("resnet18", norm="BN").state_dict()
    theirs = {name.replace("downsample", "shortcut"): t for name, t in shortcuts.items()}
    assert_same(to_ours(theirs, "f").tensors, shortcuts)


def test_unknown_names_are_kept_to_be_reported():
    state = classifier_state("resnet18") | {"extra.weight": torch.ones(1)}
    assert "extra.weight" in to_ours(state, "f").tensors


def test_of_no_layout():
    with pytest.raises(WeightsError, match=r"f: .* no layout that we know; it begins with embed"):
        to_ours({"embed": torch.ones(1)}, "f")
    with pytest.raises(WeightsError, match="closest is 'torchvision', which knows 1 and does not"):
        to_ours({"fc.weight": torch.ones(1), "other": torch.ones(1)}, "f")


@pytest.mark.parametrize("layout", ["caffe2", "keras"])
def test_directions_that_do_not_exist(layout):
    with pytest.raises(WeightsError, match=f"cannot be written in layout '{layout}', expected one"):
        from_ours(classifier_state("resnet18"), layout)


def test_networks_that_a_framework_has_no_names_for():
    with pytest.raises(WeightsError, match="'detectron2' has no name for 32 tensors: layer1.0.se"):
        state = create_classifier("seresnet18").state_dict()
        from_ours(
            {k: t for k, t in state.items() if "layer1" in k or "layer2" in k or ".se" in k},
            "detectron2",
        )
