"""detectron2's checkpoints into models on our backbones and back, by its own checkpointer."""

from __future__ import annotations

import copy
import pickle

import peers
import pytest
import torch

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_resnet_backbone

from resnet_backbone.create import create_backbone, create_res5
from resnet_backbone.errors import WeightsError
from resnet_backbone.plugins.detectron2 import create_detectron2_backbone
from resnet_backbone.plugins.detectron2_names import RES5, use_detectron2_names
from resnet_backbone.weights.backbone_names import CAFFE2
from resnet_backbone.weights.name_rules import renamed_from_ours
from resnet_backbone.weights.stored import read_weights

STAGES = ["res2", "res3", "res4", "res5"]
CARD = "_extra_state"
# Ours -> detectron2's keys in MODEL.RESNETS for the same network.
NETWORKS = {
    "resnet18": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64},
    "resnet34": {"DEPTH": 34, "RES2_OUT_CHANNELS": 64},
    "resnet50": {"DEPTH": 50},
    "resnet101": {"DEPTH": 101},
    "resnet152": {"DEPTH": 152},
    "resnext101_32x8d": {"DEPTH": 101, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8},
    "wide_resnet50_2": {"DEPTH": 50, "WIDTH_PER_GROUP": 128},
}


def detectron2s(name, **keys):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = STAGES
    for key, value in (NETWORKS[name] | {"STRIDE_IN_1X1": False} | keys).items():
        cfg.MODEL.RESNETS[key] = value
    return build_resnet_backbone(cfg, ShapeSpec(channels=3))


def ours(name, **options):
    return create_detectron2_backbone(name, out_features=STAGES, **options)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
def test_names_are_detectron2s_own(name, norm):
    with torch.device("meta"):
        expected, found = detectron2s(name, NORM=norm), ours(name, norm=norm)
    shapes = {n: t.shape for n, t in found.state_dict().items() if n != CARD}
    assert shapes == {n: t.shape for n, t in expected.state_dict().items()}


def test_deformable_convolutions_have_its_names_too():
    """Of detectron2/modeling/backbone/resnet.py, which only builds them compiled."""
    with torch.device("meta"):
        plain, found = ours("resnet50"), ours("resnet50", deformable=("res5",))
    offsets = {f"res5.{b}.conv2_offset.{x}" for b in range(3) for x in ("weight", "bias")}
    assert found.state_dict().keys() - plain.state_dict().keys() == offsets


@pytest.mark.parametrize(("name", "norm"), [("resnet50", "FrozenBN"), ("resnet18", "BN")])
def test_its_weights_load_strictly_and_go_back(name, norm, caplog):
    theirs = detectron2s(name, NORM=norm).eval()
    peers.fill(theirs)
    backbone = ours(name, norm=norm, stride_in_1x1=False).eval()
    backbone.load_state_dict(theirs.state_dict())
    unsaid = "does not say where its bottlenecks stride" in caplog.text
    assert unsaid is (name == "resnet50")
    image = torch.randn(1, 3, 63, 45, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = backbone(image), theirs(image)
    for stage in STAGES:  # float32's rounding; a frozen norm is folded here
        difference = (found[stage] - expected[stage]).abs().max()
        assert difference < 1e-5 * expected[stage].abs().max()
    again = detectron2s(name, NORM=norm)
    again.load_state_dict({n: t for n, t in backbone.state_dict().items() if n != CARD})
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name])


@pytest.mark.parametrize("name", ["resnet50d", "seresnet50", "resnet18c", "resnetv2_50"])
def test_networks_that_it_lacks_keep_our_names(name):
    backbone = ours(name, norm="BN")
    own = {f"net.{n}" for n in backbone.net.state_dict()}
    assert backbone.state_dict().keys() - {CARD} == own
    copied = ours(name, norm="BN")
    copied.load_state_dict(backbone.state_dict())
    assert torch.equal(copied.net.layer1[0].conv1.weight, backbone.net.layer1[0].conv1.weight)


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."])
def test_checkpoints_of_earlier_versions_are_read(tmp_path, prefix):
    net = create_backbone("resnet18", norm="BN")
    old = {f"{prefix}net.{name}": tensor for name, tensor in net.state_dict().items()}
    module = torch.nn.Module()
    module.backbone = torch.nn.Module()
    module.backbone.bottom_up = ours("resnet18", norm="BN")
    (module if prefix else module.backbone.bottom_up).load_state_dict(old)
    assert torch.equal(module.backbone.bottom_up.net.conv1.weight, net.conv1.weight)
    torch.save({"model": old}, tmp_path / "model.pth")
    assert read_weights(tmp_path / "model.pth").backbone().keys() == net.state_dict().keys()


def test_copies_keep_the_names():
    backbone = copy.deepcopy(ours("resnet18"))
    assert "res2.0.conv1.norm.weight" in backbone.state_dict()
    assert "conv1.weight" in backbone.net.state_dict()  # ours alone has ours


def test_res5_of_c4_heads():
    res5 = create_res5("resnet50")
    use_detectron2_names(res5, RES5, "resnet50")
    names = {f"res5.{name}" for name in res5.state_dict()}
    with torch.device("meta"):
        expected = detectron2s("resnet50").state_dict()
    assert names == {name for name in expected if name.startswith("res5.")}
    old = create_res5("resnet50")
    res5.load_state_dict(old.state_dict())
    assert torch.equal(res5[0].conv1.weight, old[0].conv1.weight)


def detector(*options):
    """Its Faster R-CNN with FPN, on our backbone unless the options say otherwise."""
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_rb_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = STAGES
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_BOX_HEAD.FC_DIM", 8, *options])
    return build_model(cfg)


STRIDE = ("MODEL.RESNET_BACKBONE.STRIDE_IN_1X1", True)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A whole detector as in detectron2's model zoo, whose norms MSRA's weights had folded."""
    model = detector(
        *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH", 50),
        *("MODEL.ROI_BOX_HEAD.NUM_FC", 2),
    )
    peers.fill(model)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for name, array in state.items():
        if name.endswith(("running_mean", "running_var")):
            array[:] = name.endswith("running_var")
    path = tmp_path_factory.mktemp("zoo") / "model_final_0a0b0c.pkl"
    content = {"model": state, "__author__": "Detectron2 Model Zoo"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path, {name: torch.from_numpy(array) for name, array in state.items()}


def test_detectors_of_its_zoo_fill_ours(zoo, caplog):
    path, state = zoo
    model = detector(*STRIDE)
    DetectionCheckpointer(model).load(str(path))
    found = model.state_dict()
    assert found.keys() - {f"backbone.bottom_up.{CARD}"} == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert "not found" not in caplog.text and "not used" not in caplog.text


def test_a_stride_that_its_weights_do_not_have_is_refused(zoo):
    model = detector()
    with pytest.raises(WeightsError, match=r"descends from MSRA.*STRIDE_IN_1X1 True, but the"):
        DetectionCheckpointer(model).load(str(zoo[0]))


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("resnet101", WeightsError, "holds resnet50, but MODEL.RESNET_BACKBONE.NAME is resnet101"),
        ("resnet50d", WeightsError, "holds resnet50, but MODEL.RESNET_BACKBONE.NAME is resnet50d"),
        # fvcore looks at the shapes first.
        ("resnext50_32x4d", AttributeError, "other shapes than those of resnext50_32x4d"),
    ],
)
def test_another_network_is_refused(zoo, name, error, says):
    model = detector(*STRIDE, "MODEL.RESNET_BACKBONE.NAME", name)
    with pytest.raises(error, match=says):
        DetectionCheckpointer(model).load(str(zoo[0]))


def test_its_caffe2_files_fill_ours_by_its_heuristics(tmp_path):
    """MSRA's R-50.pkl, which its YAML files name."""
    net = create_backbone("resnet50", norm="BN", stride_in_1x1=True)
    peers.fill(net)
    blobs, _ = renamed_from_ours(net.state_dict(), CAFFE2)
    arrays = {n: t.numpy() for n, t in blobs.items() if not n.endswith(("_rm", "_riv"))}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    model = detector(*STRIDE)
    DetectionCheckpointer(model).load(str(tmp_path / "R-50.pkl"))
    found = model.backbone.bottom_up.net.state_dict()
    expected = create_backbone("resnet50", weights=tmp_path / "R-50.pkl").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with pytest.raises(WeightsError, match="descends from MSRA"):
        DetectionCheckpointer(detector()).load(str(tmp_path / "R-50.pkl"))


def test_heads_alone_need_no_network():
    backbone = ours("resnet50")
    assert backbone.load_state_dict({"other.weight": torch.ones(1)}, strict=False).unexpected_keys
