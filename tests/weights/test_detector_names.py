"""Whole detectors: names against the frameworks' own, and where the background goes."""

import pytest
import torch
from framework_names import recorded

from resnet_backbone.config.load import load_config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.layouts import from_ours, to_ours

CLASSES = 5


@pytest.fixture(scope="module")
def states():
    names = ("coco_mrcnn_r50", "coco_frcnn_r50_c4", "coco_mrcnn_r50_c4", "coco_frcnn_r50_dc5")
    built = {}
    for name in names:
        cfg = load_config(name, ["model.backbone.weights=null", "model.backbone.norm=BN"])
        built[name] = build_detector(cfg, CLASSES).state_dict()
    return built


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("coco_mrcnn_r50", "detectron2"),
        ("coco_mrcnn_r50_c4", "detectron2"),
        ("coco_frcnn_r50_dc5", "detectron2"),
        ("coco_mrcnn_r50", "mmdet"),
        ("coco_mrcnn_r50_c4", "mmdet"),
        ("coco_frcnn_r50_dc5", "mmdet"),
        ("coco_mrcnn_r50", "torchvision"),
        ("coco_mrcnn_r50", "ours"),
    ],
)
def test_there_and_back_nothing_changes(states, name, layout):
    state = states[name]
    theirs = from_ours(state, layout, "detector")
    back = to_ours(theirs, "f")
    assert (back.layout, back.kind) == (layout, "detector")
    assert_same(back.tensors, state)


RECORDED = [(layout, name) for layout, models in recorded("detectors").items() for name in models]


@pytest.mark.parametrize(("layout", "name"), RECORDED)
def test_every_detector_is_written_by_the_names_of_the_frameworks_own(layout, name):
    """Names and shapes, with which a strict loading succeeds."""
    keys = ["model.backbone.weights=null", "model.backbone.norm=BN", "model.backbone.freeze_at=0"]
    cfg = load_config(name, keys)
    with torch.device("meta"):
        state = build_detector(cfg, 80).state_dict()
    theirs = from_ours(state, layout, "detector")
    found = {n: list(tensor.shape) for n, tensor in theirs.items()}
    if layout == "detectron2":  # whose frozen norms do not count
        found = {n: shape for n, shape in found.items() if "num_batches_tracked" not in n}
    assert found == recorded("detectors")[layout][name]


def test_torchvisions_names_and_background(states):
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1
    ).state_dict()
    found = to_ours(theirs, "f").tensors
    own = states["coco_mrcnn_r50"]
    shapes = [
        {n: tensor.shape for n, tensor in state.items() if "num_batches" not in n}
        for state in (found, own)
    ]
    assert shapes[0] == shapes[1]
    scores = theirs["roi_heads.box_predictor.cls_score.bias"]
    assert torch.equal(found["roi_heads.predictor.classifier.bias"][-1], scores[0])
    assert torch.equal(found["roi_heads.predictor.classifier.bias"][0], scores[1])
    boxes = theirs["roi_heads.box_predictor.bbox_pred.weight"]
    assert torch.equal(found["roi_heads.predictor.regressor.weight"], boxes[4:])


def test_torchvisions_names_before_0_14(states):
    theirs = from_ours(states["coco_mrcnn_r50"], "torchvision", "detector")
    old = {}
    for name, tensor in theirs.items():
        for new, before in (
            ("rpn.head.conv.0.0.", "rpn.head.conv."),
            *(
                (f"{kind}_blocks.{i}.0.", f"{kind}_blocks.{i}.")
                for kind in ("inner", "layer")
                for i in range(4)
            ),
            *((f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.") for i in range(4)),
        ):
            name = name.replace(new, before)
        old[name] = tensor
    assert_same(to_ours(old, "f").tensors, states["coco_mrcnn_r50"])


def test_torchvisions_91_outputs_become_cocos_80_classes():
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Weights

    categories = Weights.COCO_V1.meta["categories"]
    numbers = torch.arange(91.0)
    found = to_ours(
        {
            "rpn.head.cls_logits.bias": torch.zeros(3),
            "roi_heads.box_predictor.cls_score.bias": numbers,
            "roi_heads.box_predictor.bbox_pred.bias": numbers.repeat_interleave(4),
        },
        "f",
    ).tensors
    order = found["roi_heads.predictor.classifier.bias"].int().tolist()
    assert order[-1] == 0
    assert [categories[i] for i in order[:-1]] == [c for c in categories[1:] if c != "N/A"]
    assert found["roi_heads.predictor.regressor.bias"].tolist() == [
        float(i) for i in order[:-1] for _ in range(4)
    ]


def detectron_blobs(c4):
    """Blobs of Detectron's names and shapes, each filled at random."""
    shapes = {
        "conv1_w": (64, 3, 7, 7),
        "res_conv1_bn_s": (64,),
        "res2_0_branch2a_w": (64, 64, 1, 1),
        "res5_0_branch2a_w": (512, 1024, 1, 1),
        "res5_0_branch2a_bn_b": (512,),
        "cls_score_w": (6, 32),
        "bbox_pred_w": (24, 32),
        "mask_fcn_logits_w": (6, 8, 1, 1),
        "conv5_mask_w": (8, 8, 2, 2),
    }
    if c4:
        shapes |= {"conv_rpn_w": (4, 4, 3, 3), "rpn_cls_logits_b": (15,), "rpn_bbox_pred_b": (60,)}
    else:
        shapes |= {
            "conv_rpn_fpn2_w": (4, 4, 3, 3),
            "rpn_cls_logits_fpn2_b": (3,),
            "rpn_bbox_pred_fpn2_b": (12,),
            "fpn_inner_res5_2_sum_w": (4, 8, 1, 1),
            "fpn_inner_res4_5_sum_lateral_w": (4, 8, 1, 1),
            "fpn_res3_3_sum_b": (4,),
            "fc6_w": (32, 8),
            "fc7_b": (32,),
            "_[mask]_fcn2_w": (8, 8, 3, 3),
        }
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("c4", [False, True])
def test_detectrons_blobs(c4):
    blobs = detectron_blobs(c4)
    found = to_ours(blobs, "f")
    assert (found.layout, found.kind) == ("caffe2", "detector")
    tensors = found.tensors
    scores = blobs["cls_score_w"]
    assert torch.equal(tensors["roi_heads.predictor.classifier.weight"][-1], scores[0])
    assert torch.equal(tensors["roi_heads.predictor.classifier.weight"][:-1], scores[1:])
    assert torch.equal(tensors["roi_heads.predictor.regressor.weight"], blobs["bbox_pred_w"][4:])
    assert torch.equal(
        tensors["roi_heads.mask_head.predictor.weight"], blobs["mask_fcn_logits_w"][1:]
    )
    res5 = "roi_heads.box_pooler.res5.0" if c4 else "backbone.layer4.0"
    assert torch.equal(tensors[f"{res5}.conv1.weight"], blobs["res5_0_branch2a_w"])
    assert not any(name.startswith("_") or name[-2:] in ("_w", "_b") for name in tensors)


@pytest.mark.parametrize("c4", [False, True])
def test_detectrons_blobs_as_detectron2_reads_them(c4):
    pytest.importorskip("detectron2")
    from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names

    blobs = detectron_blobs(c4)
    theirs, _ = convert_c2_detectron_names(blobs)
    ours = to_ours(blobs, "f").tensors
    values = {tuple(tensor.flatten()[:3].tolist()) for tensor in ours.values()}
    # The values are random: each tensor is found by its first three numbers.
    assert all(tuple(tensor.flatten()[:3].tolist()) in values for tensor in theirs.values())


def test_what_detectron2_computes_is_ignored(states):
    theirs = from_ours(states["coco_mrcnn_r50"], "detectron2", "detector")
    theirs["pixel_mean"] = torch.zeros(3)
    theirs["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    found = to_ours(theirs, "f")
    assert list(found.ignored) == [
        "pixel_mean",
        "proposal_generator.anchor_generator.cell_anchors.0",
    ]
    assert_same(found.tensors, states["coco_mrcnn_r50"])


def test_directions_that_do_not_exist(states):
    with pytest.raises(WeightsError, match="a detector cannot be written in layout 'timm'"):
        from_ours(states["coco_mrcnn_r50"], "timm", "detector")
    with pytest.raises(WeightsError, match="layout 'torchvision' has no name for"):
        from_ours(states["coco_mrcnn_r50_c4"], "torchvision", "detector")
    fcs = {f"roi_heads.box_head.fcs.{i}.bias": torch.ones(1) for i in range(3)}
    with pytest.raises(WeightsError, match=r"no name for 1 tensor: roi_heads.box_head.fcs.2.bias"):
        from_ours(fcs, "torchvision", "detector")
