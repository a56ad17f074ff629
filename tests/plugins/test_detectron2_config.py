"""Our configurations as detectron2's: every key is translated, or refused by name."""

from __future__ import annotations

import pytest
import yaml

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)

from resnet_backbone.config.load import load_config
from resnet_backbone.config.schema import Config
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.engine.schedule import scale_to_batch
from resnet_backbone.errors import ConfigError
from resnet_backbone.plugins.detectron2_config import OURS_ALONE, to_detectron2

NAMES = ("coco_frcnn_r101", "coco_mrcnn_r50_c4", "coco_frcnn_r50_dc5_3x")


@pytest.mark.parametrize("name", NAMES)
def test_read_back_as_a_detectron2_file_it_is_the_same_configuration(name, tmp_path):
    """`config.detectron2_yaml`, written independently, is the way back."""
    overrides = ["solver.batch_size=16", "model.num_classes=80", "solver.lr=0.01", "seed=5"]
    cfg = scale_to_batch(settle_detector(load_config(name, overrides)), 1)
    node = to_detectron2(cfg, num_classes=80, device="cpu")
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.dump(plain(as_stock(node, cfg)), Dumper=NoAliases))
    back = load_config(path)
    found, expected = back.model_dump(), cfg.model_dump()
    for section in ("model", "solver", "data"):
        for tree in (found, expected):
            tree[section].pop("weights", None)
    for tree in (found, expected):
        tree["model"]["backbone"].pop("weights")
        tree["model"]["backbone"].pop("norm_eps")
        tree["solver"].pop("reference_batch_size")
        tree["solver"].pop("scale")
        if "_c4" in name:
            for key in ("box_fc_layers", "box_fc_dim"):  # C4 has res5 instead
                tree["model"]["roi"].pop(key)
    assert found["model"] == expected["model"]
    assert found["solver"] == expected["solver"]
    assert found["data"] == expected["data"]
    assert (back.seed, back.checkpoint.period) == (5, cfg.checkpoint.period)


class NoAliases(yaml.SafeDumper):
    """Writes equal lists twice; our reader refuses references, by which YAML can explode."""

    def ignore_aliases(self, data):
        return True


def plain(node):
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(value) for value in node] if isinstance(node, (list, tuple)) else node


def as_stock(node, cfg):
    """The same network by detectron2's own builders."""
    node = node.clone()
    backbone = cfg.model.backbone
    del node.MODEL["RESNET_BACKBONE"]
    node.MODEL.BACKBONE.NAME = node.MODEL.BACKBONE.NAME.replace("_rb_", "_")
    node.MODEL.ROI_HEADS.NAME = node.MODEL.ROI_HEADS.NAME.removeprefix("RB")
    node.MODEL.RESNETS.DEPTH = int(backbone.name.removeprefix("resnet"))
    node.MODEL.RESNETS.STRIDE_IN_1X1 = backbone.stride_in_1x1
    node.MODEL.RESNETS.NORM = backbone.norm
    node.DATASETS.TRAIN, node.DATASETS.TEST = ("coco_2017_train",), ("coco_2017_val",)
    return node


def test_all_that_detectron2_has_not_is_refused_together():
    overrides = ["solver.optimizer=adamw", "solver.ema_decay=0.9", "data.flip=0.3"]
    cfg = scale_to_batch(settle_detector(load_config("coco_frcnn_r50", overrides)), 1)
    with pytest.raises(ConfigError) as caught:
        to_detectron2(cfg, num_classes=80, device="cpu")
    for key in ("solver.optimizer: found 'adamw'", "solver.ema_decay: found 0.9", "data.flip"):
        assert key in str(caught.value)


# A value that is not the default, for every key of ours that a rule below does not give one.
OTHER = {
    "model.architecture": "dc5",
    "model.backbone.name": "resnet18",
    "model.backbone.weights": "w.safetensors",
    "model.backbone.stride_in_1x1": True,
    "model.backbone.norm_eps": 0.001,
    "model.backbone.norm": "GN",
    "model.backbone.output_stride": 16,
    "model.backbone.deformable": ("res5",),
    "model.backbone.options": {"width": 3},
    "model.allow_partial": ("fc.*",),
    "model.allow_extra": ("aux.*",),
    "model.class_layers": "copy",
    "model.settings": "from_weights",
    "model.pixels.channel_order": "BGR",
    "model.pixels.mean": (1.0, 2.0, 3.0),
    "model.pixels.std": (1.0, 2.0, 3.0),
    "model.rpn.anchors.sizes": ((16.0,),),
    "model.rpn.iou_thresholds": (0.2, 0.6),
    "model.roi.box_weights": (1.0, 2.0, 3.0, 4.0),
    "data.exif": "ignore",
    "data.bit_depth": 12,
    "data.on_bad_sample": "skip",
    "data.flip": 0.3,
    "solver.epochs": 3.0,
    "solver.optimizer": "adamw",
    "solver.schedule": "cosine",
    "solver.warmup_until_error": 0.8,
    "solver.weight_decay_bias": 0.0,
    "solver.amp": "bf16",
    "solver.clip_grad_norm": 1.0,
    "solver.ema_decay": 0.9,
    "evaluation.patience": 2,
}


# Done before the translation, or by code that the tests below cover; OURS_ALONE is said to users.
NOT_IN_THEIR_KEYS = {
    *("name", "imports", "overrides", "device", "task"),
    *("data.root", "data.train", "data.val", "data.shapes"),
    *("model.num_classes", "model.weights"),
    *("solver.recipe", "solver.scale", "solver.reference_batch_size"),
    *("solver.reference_max_iter", "evaluation.times"),
    # Of the schedule "plateau" alone, which is refused.
    *("solver.plateau_patience", "solver.plateau_threshold", "solver.plateau_drops"),
    *("log_period", "checkpoint.keep"),
}


SPLITS = ("data.train", "data.val")


def keys(cfg, prefix=""):
    for key, value in cfg.items():
        path = prefix + key
        inner = isinstance(value, dict) and path not in ("model.backbone.options", *SPLITS)
        yield from keys(value, f"{path}.") if inner else [(path, value)]


def other(path, value):
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return value[:-1]
    return value + 1 if isinstance(value, int) else value / 2 + 0.1


def changed(cfg, path, value):
    tree = cfg.model_dump()
    *sections, key = path.split(".")
    section = tree
    for name in sections:
        section = section[name]
    section[key] = value
    return Config.model_validate(tree)


def base_config():
    overrides = ["model.mask=true", "solver.batch_size=16", "model.backbone.weights=null"]
    overrides.append("model.rpn.anchors.sizes=[[32.0]]")  # fits every architecture
    return scale_to_batch(settle_detector(load_config("coco_frcnn_r50", overrides)), 1)


ALL = {path for path, _ in keys(Config().model_dump())}


@pytest.mark.parametrize("path", sorted(ALL - NOT_IN_THEIR_KEYS - set(OURS_ALONE)))
def test_every_key_of_ours_is_translated_or_refused_by_name(path):
    cfg = base_config()
    now = dict(keys(cfg.model_dump()))[path]
    before = to_detectron2(cfg, num_classes=80, device="cpu")
    new = "elsewhere" if path == "output" else other(path, now)
    assert new != now
    try:
        after = to_detectron2(changed(cfg, path, new), num_classes=80, device="cpu")
    except ConfigError as error:
        assert str(error).startswith(f"{path}: found")
    else:
        assert after != before


def test_a_schedule_that_it_has_not_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"solver.schedule: found 'plateau', expected 'm"):
        to_detectron2(
            changed(base_config(), "solver.schedule", "plateau"), num_classes=80, device="cpu"
        )


def test_what_is_not_in_detectron2s_keys_are_keys_of_ours():
    assert NOT_IN_THEIR_KEYS | set(OURS_ALONE) <= ALL
