"""Our configurations as detectron2's, and a training with its trainer."""

from __future__ import annotations

import json

import pytest
import yaml
from load_tool import load_tool

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from resnet_backbone.config.load import load_config
from resnet_backbone.detection.contract import settle
from resnet_backbone.engine.schedule import scale_to_batch
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.plugins.detectron2_config import to_detectron2
from resnet_backbone.plugins.detectron2_engine import train

NAMES = ("coco_frcnn_r101", "coco_mrcnn_r50_c4", "coco_frcnn_r50_dc5_3x")
TINY = (
    *("data.shapes.train_images=8", "data.shapes.val_images=2", "data.shapes.image_size=64"),
    *("data.min_sizes=[64]", "data.max_size=64", "data.test_min_size=64", "data.test_max_size=64"),
    *("solver.optimizer=sgd", "solver.lr=0.001", "solver.max_iter=2", "solver.batch_size=2"),
    *("checkpoint.period=2", "evaluation.period=0", "data.workers=0", "device=cpu"),
)


@pytest.mark.parametrize("name", NAMES)
def test_read_back_as_a_detectron2_file_it_is_the_same_configuration(name, tmp_path):
    """`config.detectron2_yaml`, written independently, is the way back."""
    overrides = ["solver.batch_size=16", "model.num_classes=80", "solver.lr=0.01", "seed=5"]
    cfg = scale_to_batch(settle(load_config(name, overrides)), 1)
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
    cfg = scale_to_batch(settle(load_config("coco_frcnn_r50", overrides)), 1)
    with pytest.raises(ConfigError) as caught:
        to_detectron2(cfg, num_classes=80, device="cpu")
    for key in ("solver.optimizer: found 'adamw'", "solver.ema_decay: found 0.9", "data.flip"):
        assert key in str(caught.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectron2")
    places = [f"data.root={folder / 'data'}", f"output={folder / 'run'}"]
    load_tool("train_net").main(
        ["--engine", "detectron2", "--config", "quickstart.yaml", *TINY, *places]
    )
    return folder / "run", places


def test_detectron2_trains_our_configuration(trained):
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP" in line and "segm/AP" in line for line in lines)
    assert all(abs(line.get("total_loss", 0)) < 100 for line in lines)


def test_its_checkpoint_loads_again(trained):
    folder, _ = trained
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    model = build_model(cfg)
    unmatched = DetectionCheckpointer(model).load(str(folder / "model_final.pth"))
    assert "model" not in unmatched


def test_a_run_is_not_overwritten_unasked_and_can_be_resumed(trained):
    _, places = trained
    cfg = load_config("quickstart", [*TINY, *places, "solver.max_iter=3"])
    with pytest.raises(StorageError, match="holds a run; --resume goes on with it"):
        train(cfg)
    folder = train(cfg, resume=True)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
