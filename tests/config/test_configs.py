"""Every shipped file: that it loads, what its header promises, and the numbers it stands for."""

import itertools
import re
from pathlib import Path

import pytest

from resnet_backbone.config.load import list_configs, load_any_config, load_config
from resnet_backbone.detection.settle import settle_detector

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted([*CONFIGS.glob("*.yaml"), *(CONFIGS / "base").glob("*.yaml")])
COCO = [
    f"coco_{kind}_r{depth}{architecture}{schedule}"
    for kind, depth, architecture, schedule in itertools.product(
        ("frcnn", "mrcnn"), (50, 101), ("", "_c4", "_dc5"), ("", "_3x")
    )
]

# detectron2, git of June 2026: config/defaults.py overlaid with configs/Base-RCNN-FPN.yaml,
# Base-RCNN-C4.yaml and Base-RCNN-DilatedC5.yaml, read by hand. SIZES; RPN.{PRE,POST}_NMS_TOPK
# train and test; ROI_BOX_HEAD.POOLER_RESOLUTION; ROI_MASK_HEAD.{POOLER_RESOLUTION, NUM_CONV}.
ARCHITECTURES = {
    "fpn": (((32,), (64,), (128,), (256,), (512,)), (2000, 1000), (1000, 1000), 7, 14, 4),
    "c4": (((32, 64, 128, 256, 512),), (12000, 6000), (2000, 1000), 14, 14, 0),
    "dc5": (((32, 64, 128, 256, 512),), (12000, 6000), (2000, 1000), 7, 14, 4),
}

# detectron2's MODEL_ZOO.md, "COCO Object Detection Baselines" and "COCO Instance Segmentation
# Baselines with Mask R-CNN": s/iter in training, GB in training, box AP, mask AP.
PUBLISHED = {
    "coco_frcnn_r50_c4": (0.551, 4.8, 35.7),
    "coco_frcnn_r50_dc5": (0.380, 5.0, 37.3),
    "coco_frcnn_r50": (0.210, 3.0, 37.9),
    "coco_frcnn_r50_c4_3x": (0.543, 4.8, 38.4),
    "coco_frcnn_r50_dc5_3x": (0.378, 5.0, 39.0),
    "coco_frcnn_r50_3x": (0.209, 3.0, 40.2),
    "coco_frcnn_r101_c4_3x": (0.619, 5.9, 41.1),
    "coco_frcnn_r101_dc5_3x": (0.452, 6.1, 40.6),
    "coco_frcnn_r101_3x": (0.286, 4.1, 42.0),
    "coco_mrcnn_r50_c4": (0.584, 5.2, 36.8, 32.2),
    "coco_mrcnn_r50_dc5": (0.471, 6.5, 38.3, 34.2),
    "coco_mrcnn_r50": (0.261, 3.4, 38.6, 35.2),
    "coco_mrcnn_r50_c4_3x": (0.575, 5.2, 39.8, 34.4),
    "coco_mrcnn_r50_dc5_3x": (0.470, 6.5, 40.0, 35.9),
    "coco_mrcnn_r50_3x": (0.261, 3.4, 41.0, 37.2),
    "coco_mrcnn_r101_c4_3x": (0.652, 6.3, 42.6, 36.7),
    "coco_mrcnn_r101_dc5_3x": (0.545, 7.6, 41.9, 37.3),
    "coco_mrcnn_r101_3x": (0.340, 4.6, 42.9, 38.6),
}


def header_of(path: Path) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return "\n".join(line.lstrip("# ") for line in lines)


def is_classifiers(path: Path) -> bool:
    return path.stem.startswith(("imagenet", "cifar10", "pretrain"))


def test_all_files_are_accounted_for():
    detectors = [path for path in FILES if not is_classifiers(path)]
    assert sorted(path.stem for path in detectors if path.parent.name == "base") == [
        "c4", "coco", "dc5", "fpn",
    ]  # fmt: skip
    assert DETECTORS == sorted([*COCO, "coco_overfit8", "finetune", "finetune_frcnn", "quickstart"])
    assert len(detectors) == 32


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads(path):
    config = load_any_config(path)
    assert config.name == path.stem
    assert config.task == ("classification" if is_classifiers(path) else "detection")
    assert config.output == f"output/{path.stem}"


DETECTORS = [name for name in list_configs() if not is_classifiers(Path(name))]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_header_states_command_time_memory_and_result(name):
    header = header_of(CONFIGS / f"{name}.yaml")
    assert re.match(rf"python tools/train_net\.py --config {name}\.yaml(\s|$)", header)
    assert re.search(r"^Time: +\S.*\d", header, re.MULTILINE)
    assert re.search(r"^Memory: +\S.*\d.* GB", header, re.MULTILINE)
    assert re.search(r"^Expected: +(box AP \d|no published figure)", header, re.MULTILINE)


@pytest.mark.parametrize("name", COCO)
def test_the_header_states_the_published_figures(name):
    header = " ".join(header_of(CONFIGS / f"{name}.yaml").split())
    published = name in PUBLISHED
    seconds, memory, *aps = PUBLISHED[name if published else f"{name}_3x"]
    steps = load_config(name).solver.max_iter
    assert f"{steps:,} x {seconds:.3f} s" in header
    assert f"{steps * seconds / 3600:.1f} hours" in header
    assert f"{memory} GB" in header
    if not published:
        assert "no published figure" in header
        return
    words = f"box AP {aps[0]}" + (f", mask AP {aps[1]}" if len(aps) == 2 else "")
    assert f"Expected: {words} on val2017." in header
    assert "have not run it" in header


@pytest.mark.parametrize("name", COCO)
def test_numbers_of_each_architecture(name):
    config = load_config(name)
    model, rpn, roi = config.model, config.model.rpn, config.model.roi
    kind = next((a for a in ("c4", "dc5") if f"_{a}" in name), "fpn")
    assert model.architecture == kind
    assert ARCHITECTURES[kind] == (
        rpn.anchors.sizes,
        (rpn.pre_nms_topk_train, rpn.pre_nms_topk_test),
        (rpn.post_nms_topk_train, rpn.post_nms_topk_test),
        roi.box_pooler_resolution,
        roi.mask_pooler_resolution,
        roi.mask_conv_layers,
    )
    assert model.mask == ("mrcnn" in name)
    assert model.backbone.name == ("resnet101" if "r101" in name else "resnet50")


@pytest.mark.parametrize("name", COCO)
def test_numbers_that_all_architectures_share(name):
    """Read from detectron2's config/defaults.py by hand."""
    config = load_config(name)
    rpn, roi, solver, data = config.model.rpn, config.model.roi, config.solver, config.data
    assert rpn.anchors.aspect_ratios == (0.5, 1.0, 2.0)
    assert (rpn.iou_thresholds, rpn.nms_threshold, rpn.min_box_size) == ((0.3, 0.7), 0.7, 0)
    assert (rpn.samples_per_image, rpn.positive_fraction) == (256, 0.5)
    assert (roi.samples_per_image, roi.positive_fraction, roi.iou_threshold) == (512, 0.25, 0.5)
    assert (roi.box_fc_layers, roi.box_fc_dim, roi.mask_conv_dim) == (2, 1024, 256)
    assert roi.box_weights == (10, 10, 5, 5)
    assert (roi.score_threshold, roi.nms_threshold, roi.detections_per_image) == (0.05, 0.5, 100)
    assert config.model.backbone.freeze_at == 2
    assert config.model.backbone.norm == "FrozenBN"
    long = name.endswith("_3x")
    assert solver.max_iter == (270_000 if long else 90_000)
    assert solver.milestones == ((210_000, 250_000) if long else (60_000, 80_000))
    assert (solver.lr, solver.reference_batch_size, solver.gamma) == (0.02, 16, 0.1)
    assert (solver.momentum, solver.weight_decay, solver.weight_decay_norm) == (0.9, 1e-4, 0.0)
    assert (solver.warmup_iters, solver.warmup_factor) == (1000, 0.001)
    assert data.min_sizes == (640, 672, 704, 736, 768, 800)
    assert (data.max_size, data.test_min_size, data.test_max_size) == (1333, 800, 1333)
    assert data.flip == 0.5


@pytest.mark.parametrize("name", COCO)
def test_weights_come_with_the_pixels_they_were_trained_on(name):
    """torchvision's ImageNet weights: RGB, this mean and deviation of pixels in [0, 1]."""
    model = settle_detector(load_config(name)).model
    assert model.backbone.weights == "torchvision/IMAGENET1K_V1"
    assert model.backbone.stride_in_1x1 is False
    assert model.pixels.channel_order == "RGB"
    assert model.pixels.mean == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])
    assert model.pixels.std == pytest.approx([255 * s for s in (0.229, 0.224, 0.225)])


def test_overfit8_is_evaluated_on_the_images_it_learns():
    config = load_config("coco_overfit8")
    assert config.data.train == config.data.val
    assert config.data.train.limit == 8
    assert config.data.keep_empty
    assert config.data.flip == 0.0


@pytest.mark.parametrize("name", ["quickstart", "coco_overfit8"])
def test_runs_from_scratch_train_every_layer(name):
    backbone = load_config(name).model.backbone
    assert backbone.name == "resnet18"
    assert backbone.weights is None
    assert backbone.freeze_at == 0
    assert backbone.norm != "FrozenBN"  # its statistics would be those of no data
