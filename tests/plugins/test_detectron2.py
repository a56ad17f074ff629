"""Our backbones inside detectron2: its own models, heads and tools on them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import peers
import pytest
import torch

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall, LazyConfig, get_cfg, instantiate
from detectron2.engine import DefaultPredictor
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.backbone import Backbone, build_backbone
from detectron2_numbers import CONFIGS, their_losses

from resnet_backbone.backbone import variants
from resnet_backbone.cli import convert as convert_command
from resnet_backbone.config.load import load_config
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.plugins.detectron2 import add_config, create_detectron2_backbone
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.convert import write_as
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.layouts import to_ours, unknown_names
from resnet_backbone.weights.presets import IMAGENET
from resnet_backbone.weights.stored import read_weights
from resnet_backbone.weights.targets import facts_of, settings_for

OURS = Path(__file__).resolve().parents[2] / "configs" / "detectron2"
FILES = sorted(path for path in OURS.glob("*.yaml") if not path.stem.startswith("base_"))
# Ours -> detectron2's own file for the same model.
STOCK = {
    "faster_rcnn_r50_fpn_1x": "COCO-Detection/faster_rcnn_R_50_FPN_1x",
    "faster_rcnn_r101_fpn_3x": "COCO-Detection/faster_rcnn_R_101_FPN_3x",
    "faster_rcnn_r50_c4_1x": "COCO-Detection/faster_rcnn_R_50_C4_1x",
    "faster_rcnn_r50_dc5_1x": "COCO-Detection/faster_rcnn_R_50_DC5_1x",
    "mask_rcnn_r50_fpn_1x": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "mask_rcnn_r50_fpn_dconv_1x": "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5",
    "cascade_mask_rcnn_r50_fpn_1x": "Misc/cascade_mask_rcnn_R_50_FPN_1x",
    "retinanet_r50_fpn_1x": "COCO-Detection/retinanet_R_50_FPN_1x",
}
# What they are there to change: the backbone, its weights, and the pixels that these want.
CHANGED = (
    *("MODEL.RESNET_BACKBONE.", "MODEL.BACKBONE.NAME", "MODEL.WEIGHTS", "MODEL.PIXEL_"),
    *("MODEL.RESNETS.DEPTH", "MODEL.RESNETS.DEFORM_ON_PER_STAGE", "INPUT.FORMAT"),
)
SMALL = ("MODEL.DEVICE", "cpu", "MODEL.RESNET_BACKBONE.WEIGHTS", None)


def config(file, *options):
    cfg = get_cfg()
    cfg.merge_from_file(str(file))
    cfg.merge_from_list([*SMALL, *options])
    return cfg


def inputs(training, masks=True):
    records = peers.detectron2_inputs(
        peers.make_batch([(96, 128), (96, 128)], instances=3, seed=1), training=training
    )
    if training and not masks:
        for record in records:
            record["instances"].remove("gt_masks")
    return records


def test_the_files_were_found():
    assert len(FILES) >= 8


def leaves(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif not f"{prefix}{key}".startswith(CHANGED):
            yield prefix + key, value


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_our_files_are_detectron2s_but_for_the_backbone(file):
    theirs = get_cfg()
    # Its RetinaNet computes the anchors' sizes by a call in the YAML.
    theirs.merge_from_file(f"{CONFIGS}/{STOCK[file.stem]}.yaml", allow_unsafe=True)
    ours = get_cfg()
    ours.merge_from_file(str(file))
    found, expected = dict(leaves(ours)), dict(leaves(theirs))
    sizes = "MODEL.ANCHOR_GENERATOR.SIZES"
    # Written with five decimals of a pixel.
    np.testing.assert_allclose(found.pop(sizes), expected.pop(sizes), rtol=0, atol=1e-5)
    if file.stem == "faster_rcnn_r50_c4_1x":
        assert found.pop("MODEL.ROI_HEADS.NAME") == "RB" + expected.pop("MODEL.ROI_HEADS.NAME")
    assert found == expected


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_our_files_train_and_predict_in_detectron2(file):
    """Its Faster, Mask and Cascade R-CNN and RetinaNet, on resnet18 for speed."""
    cfg = config(file, "MODEL.RESNET_BACKBONE.NAME", "resnet18", "MODEL.ROI_HEADS.NUM_CLASSES", 80)
    cfg.merge_from_list(
        ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16]
    )
    model = build_model(cfg)
    from detectron2.utils.events import EventStorage

    with EventStorage(0):
        losses = model.train()(inputs(True, cfg.MODEL.MASK_ON))
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    with torch.no_grad():
        found = model.eval()(inputs(False))
    assert len(found) == 2


def test_a_training_step_equals_that_on_detectron2s_own_backbone():
    """Losses to 1e-5, gradients to 1e-4 relative, with equal weights and sampling.

    In float64: in float32 either side's rounding moves some of the random weights' gradients by
    1e-3, as a ReLU or a proposal's rank depends on the last digit.
    """
    theirs_cfg = get_cfg()
    theirs_cfg.merge_from_file(f"{CONFIGS}/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    pixels = ["MODEL.PIXEL_MEAN", list(IMAGENET["mean"]), "MODEL.PIXEL_STD", list(IMAGENET["std"])]
    common = [*pixels, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "INPUT.FORMAT", "RGB"]
    theirs_cfg.merge_from_list([*common, "MODEL.RESNETS.STRIDE_IN_1X1", False])
    theirs = build_model(theirs_cfg).double()
    peers.fill(theirs)
    ours_cfg = theirs_cfg.clone()
    ours_cfg.MODEL.BACKBONE.NAME = "build_rb_resnet_fpn_backbone"
    ours = build_model(ours_cfg).double()
    missing, unexpected = ours.load_state_dict(as_ours(theirs.state_dict()), strict=False)
    assert not unexpected
    assert all("pixel_" in name or "anchor" in name for name in missing)

    records = inputs(True)
    found, expected = their_losses(ours, records), their_losses(theirs, records)
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5), name
    sum(found.values()).backward()
    sum(expected.values()).backward()
    wanted = as_ours({n: p.grad for n, p in theirs.named_parameters() if p.grad is not None})
    gradients = {n: p.grad for n, p in ours.named_parameters() if p.grad is not None}
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        scale = wanted[name].abs().max()
        assert (gradient - wanted[name]).abs().max() <= 1e-4 * scale, name


def as_ours(state):
    """detectron2's names for its detector on our backbone."""
    prefix = "backbone.bottom_up."
    trunk = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    renamed = {f"{prefix}net.{n}": t for n, t in to_ours(trunk, "f").tensors.items()}
    return {n: t for n, t in state.items() if not n.startswith(prefix)} | renamed


def test_it_is_a_proper_backbone():
    cfg = config(
        OURS / "faster_rcnn_r50_c4_1x.yaml", "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4"]
    )
    backbone = build_backbone(cfg)
    assert isinstance(backbone, Backbone)
    assert backbone.output_shape() == {
        "res3": ShapeSpec(channels=512, stride=8),
        "res4": ShapeSpec(channels=1024, stride=16),
    }
    assert backbone.size_divisibility == 0
    assert backbone.padding_constraints == {}
    found = backbone(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "res3": (1, 512, 8, 8),
        "res4": (1, 1024, 4, 4),
    }
    frozen = [not p.requires_grad for p in backbone.net.layer2.parameters()]
    assert not any(frozen)  # MODEL.BACKBONE.FREEZE_AT is 2
    assert not any(p.requires_grad for p in backbone.net.layer1.parameters())
    assert backbone.freeze(3) is backbone
    assert not any(p.requires_grad for p in backbone.net.layer2.parameters())


def test_images_are_padded_as_for_detectron2s_own_backbones():
    """0 pads to the largest image only; timm's get multiples of 32, as in our detectors."""
    assert create_detectron2_backbone("resnet18").size_divisibility == 0
    pytest.importorskip("timm")
    assert create_detectron2_backbone("timm/resnet10t").size_divisibility == 32


def test_dilation_and_input_channels_come_from_detectron2s_keys():
    cfg = config(OURS / "faster_rcnn_r50_dc5_1x.yaml")
    assert build_backbone(cfg).output_shape()["res5"].stride == 16
    backbone = build_backbone(cfg, ShapeSpec(channels=5))
    assert backbone.net.conv1.in_channels == 5


def test_the_c4_head_is_our_res5_with_the_same_weights(tmp_path):
    donor = create_backbone("resnet50", norm="BN")
    path = tmp_path / "w.safetensors"
    save_weights(donor, path, WeightsCard(**IMAGENET))
    cfg = config(OURS / "faster_rcnn_r50_c4_1x.yaml", "MODEL.RESNET_BACKBONE.WEIGHTS", str(path))
    res5 = build_model(cfg).roi_heads.res5
    assert torch.equal(res5[2].conv3.weight, donor.layer4[2].conv3.weight)


def test_what_the_configuration_gets_wrong_is_said_in_detectron2s_words(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(create_backbone("resnet50", norm="BN"), path, WeightsCard(**IMAGENET))
    weights = ("MODEL.RESNET_BACKBONE.WEIGHTS", str(path))
    for options, message in (
        (("MODEL.RESNET_BACKBONE.NAME", "resnet51"), "RESNET_BACKBONE.NAME: unknown backbone"),
        (("MODEL.RESNET_BACKBONE.NORM", "BM"), "MODEL.RESNET_BACKBONE.NORM: found 'BM', expected"),
        ((*weights, "INPUT.FORMAT", "BGR"), "INPUT.FORMAT: got 'BGR'"),
        ((*weights, "MODEL.PIXEL_STD", [1.0] * 3), "MODEL.PIXEL_STD: got"),
        (
            (*weights, "MODEL.RESNET_BACKBONE.STRIDE_IN_1X1", True),
            "MODEL.RESNET_BACKBONE.STRIDE_IN_1X1: got True",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            build_backbone(config(OURS / "faster_rcnn_r50_fpn_1x.yaml", *options))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("DEPTH", 101, r"contradicts .*NAME, 'resnet50'"),
        ("NORM", "BN", r"contradicts .*NORM, 'FrozenBN'"),
        ("WIDTH_PER_GROUP", 128, "contradicts .*NAME, "),
        ("DEFORM_ON_PER_STAGE", [False, True, True, True], r"contradicts .*DEFORMABLE, \(\)"),
    ],
)
def test_detectron2s_own_keys_are_not_silently_without_effect(key, value, says):
    cfg = config(OURS / "faster_rcnn_r50_fpn_1x.yaml", f"MODEL.RESNETS.{key}", value)
    with pytest.raises(ConfigError, match=f"MODEL.RESNETS.{key}: found .*{says}"):
        build_backbone(cfg)


def test_detectron2s_own_keys_may_say_the_same_as_ours():
    cfg = config(OURS / "faster_rcnn_r50_fpn_1x.yaml", "MODEL.RESNETS.DEPTH", 18)
    cfg.MODEL.RESNET_BACKBONE.NAME, cfg.MODEL.RESNETS.STRIDE_IN_1X1 = "resnet18", False
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.RESNET_BACKBONE.NORM = "BN"
    assert build_backbone(cfg).bottom_up.output_shape()["res5"].channels == 512


def test_detectron2s_own_res5_under_our_weights_is_warned_about(tmp_path, caplog):
    path = tmp_path / "w.safetensors"
    save_weights(create_backbone("resnet18", norm="BN"), path, WeightsCard(**IMAGENET))
    cfg = config(OURS / "faster_rcnn_r50_c4_1x.yaml", "MODEL.RESNET_BACKBONE.WEIGHTS", str(path))
    cfg.MODEL.RESNET_BACKBONE.NAME = "resnet18"
    for heads, warned in (("RBRes5ROIHeads", False), ("Res5ROIHeads", True)):
        cfg.MODEL.ROI_HEADS.NAME = heads
        caplog.clear()
        with caplog.at_level(logging.WARNING, "resnet_backbone"):
            build_backbone(cfg)
        assert (".WEIGHTS; RBRes5ROIHeads uses the res5 of this package" in caplog.text) == warned


def test_builders_of_users_get_their_options_from_yaml(tmp_path, monkeypatch):
    monkeypatch.setattr(variants.BACKBONES, "_entries", {**variants.BACKBONES._entries})
    seen = {}

    @variants.BACKBONES.register("mine")
    def build(out_features, kernelSize, names):
        seen.update(kernelSize=kernelSize, names=names)
        return create_backbone("resnet18", out_features=out_features)

    path = tmp_path / "mine.yaml"
    path.write_text(
        "VERSION: 2\nMODEL:\n  BACKBONE: {NAME: build_rb_resnet_backbone}\n  RESNET_BACKBONE:\n"
        "    NAME: mine\n    OPTIONS: {kernelSize: 7, names: [a, b]}\n"
    )
    cfg = config(path)
    assert build_backbone(cfg).output_shape() == {"res4": ShapeSpec(channels=256, stride=16)}
    assert seen == {"kernelSize": 7, "names": ("a", "b")}


def test_detectron2s_lazy_model_on_our_backbone():
    model = LazyConfig.load(f"{CONFIGS}/common/models/mask_rcnn_fpn.py").model
    model.backbone.bottom_up = LazyCall(create_detectron2_backbone)(
        name="resnet18", out_features=["res2", "res3", "res4", "res5"], deformable=["res5"]
    )
    found = instantiate(model).eval()
    with torch.no_grad():
        assert len(found(inputs(False))) == 2


# --- the way back ---


def saved(model, path):
    """A checkpoint as detectron2's trainer writes it."""
    DetectionCheckpointer(model, str(path.parent)).save(path.stem)
    return path


def config_of(name, *options):
    network = ("MODEL.RESNET_BACKBONE.NAME", "resnet18")
    # Its own C4 and DC5 need bottlenecks.
    small = () if "_c4_" in name or "_dc5_" in name else network
    return config(OURS / f"{name}.yaml", *small, *options)


@pytest.mark.parametrize(
    "name", ["mask_rcnn_r50_fpn_1x", "faster_rcnn_r50_c4_1x", "faster_rcnn_r50_dc5_1x"]
)
def test_a_checkpoint_on_our_backbone_gives_detectron2s_own_model_the_same_results(name, tmp_path):
    """By way of our names, which it is read by, and of detectron2's, which they are written by."""
    cfg = config_of(name, "MODEL.ROI_HEADS.NUM_CLASSES", 7)
    torch.manual_seed(0)
    ours = build_model(cfg).eval()
    found = read_weights(saved(ours, tmp_path / "model_final.pth"))
    assert (found.kind, found.layout) == ("detector", "detectron2")
    assert unknown_names(found.tensors, "detector") == () and not found.ignored
    card = found.card
    assert card.arch == ("resnet18" if "fpn" in name else "resnet50")
    assert (card.stride_in_1x1, card.channel_order, card.norm_eps) == (False, "RGB", 1e-5)
    assert card.mean == pytest.approx(IMAGENET["mean"])
    assert card.std == pytest.approx(IMAGENET["std"])

    # Earlier versions wrote the modules' own names.
    old = dict([*ours.named_parameters(), *ours.named_buffers()])
    torch.save({"model": old}, tmp_path / "old.pth")
    again = read_weights(tmp_path / "old.pth")
    assert again.kind == "detector" and again.tensors.keys() == found.tensors.keys()
    assert all(torch.equal(again.tensors[n], tensor) for n, tensor in found.tensors.items())

    write_as(found, tmp_path / "stock.pth", "detectron2")
    stock = cfg.clone()
    stock.MODEL.BACKBONE.NAME = cfg.MODEL.BACKBONE.NAME.replace("rb_", "")
    stock.MODEL.ROI_HEADS.NAME = cfg.MODEL.ROI_HEADS.NAME.removeprefix("RB")
    keys = [line for line in settings_for(facts_of(found, card.arch), "detectron2")[:-1]]
    stock.merge_from_list(" ".join(keys).split())
    theirs = build_model(stock).eval()
    result = DetectionCheckpointer(theirs).load(str(tmp_path / "stock.pth"))
    assert not result.get("unexpected")
    assert_same_detections(ours, theirs)


def assert_same_detections(ours, theirs):
    with torch.no_grad():
        for model in (ours, theirs):  # of random weights no score is above detectron2's 0.05
            model.roi_heads.box_predictor.test_score_thresh = 0.0
        found, expected = (model(inputs(False))[0]["instances"] for model in (ours, theirs))
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)


@pytest.mark.parametrize("name", ["retinanet_r50_fpn_1x", "cascade_mask_rcnn_r50_fpn_1x"])
def test_of_detectors_that_our_engine_lacks_the_backbone_is_read(name, tmp_path):
    model = build_model(config_of(name)).eval()
    path = saved(model, tmp_path / "model_final.pth")
    net = create_backbone("resnet18", weights=path).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.backbone.bottom_up(image)
        for feature, tensor in net(image).items():
            if feature in expected:
                assert torch.equal(tensor, expected[feature])
    detector = load_config("coco_frcnn_r50", ["model.backbone.name=resnet18"])
    parts = {"backbone": detector.model.backbone.model_copy(update={"weights": str(path)})}
    started = build_detector(
        detector.model_copy(update={"model": detector.model.model_copy(update=parts)}), 3
    )
    assert torch.equal(started.backbone.conv1.weight, net.conv1.weight)
    with pytest.raises(
        WeightsError, match="tensors? without a place in our networks would be lost"
    ):
        convert_command.main([str(path), str(tmp_path / "a.safetensors"), "--to", "safetensors"])
    assert not (tmp_path / "a.safetensors").exists()
    target = tmp_path / "b.safetensors"
    convert_command.main([str(path), str(target), "--to", "safetensors", "--backbone"])
    assert read_weights(target).tensors.keys() == net.state_dict().keys()
    assert read_weights(target).card.channel_order == "RGB"


def test_a_checkpoint_of_a_network_that_was_built_otherwise_is_refused():
    strides = [create_detectron2_backbone("resnet50", stride_in_1x1=s) for s in (True, False)]
    state = strides[0].state_dict()
    with pytest.raises(WeightsError, match="card says stride_in_1x1=True, but the network was"):
        strides[1].load_state_dict(state)
    del state["_extra_state"]
    strides[1].load_state_dict(state)  # nobody knows


def test_lazy_configurations_keep_what_is_known_of_the_weights(tmp_path):
    path = tmp_path / "w.safetensors"
    card = WeightsCard(**IMAGENET, licence="MIT", norm_eps=1e-3)
    save_weights(create_backbone("resnet18", norm="BN"), path, card)
    backbone = create_detectron2_backbone("resnet18", weights=path)
    torch.save({"model": backbone.state_dict()}, tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    assert (found.card.licence, found.card.norm_eps, found.card.arch) == ("MIT", 1e-3, "resnet18")
    assert (found.kind, found.card.mean) == ("backbone", card.mean)


def test_lazy_configurations():
    lazy = LazyCall(create_detectron2_backbone)(name="resnet18", out_features=["res4"], norm="BN")
    assert instantiate(lazy).output_shape() == {"res4": ShapeSpec(channels=256, stride=16)}


def test_adding_the_section_twice_keeps_it():
    cfg = get_cfg()
    cfg.MODEL.RESNET_BACKBONE.NAME = "resnet18"
    add_config(cfg)
    assert cfg.MODEL.RESNET_BACKBONE.NAME == "resnet18"


def test_default_predictor_reads_a_checkpoint(tmp_path):
    cfg = config(OURS / "faster_rcnn_r50_fpn_1x.yaml", "MODEL.RESNET_BACKBONE.NAME", "resnet18")
    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    predictor = DefaultPredictor(cfg)
    own = predictor.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in model.state_dict().items())
    found = predictor(np.zeros((64, 80, 3), dtype=np.uint8))
    assert "instances" in found
