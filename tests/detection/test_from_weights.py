"""A run that goes on from another one: what is taken from it, and what is not."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file

from resnet_backbone.config.load import load_config
from resnet_backbone.config.schema import Config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.from_weights import with_settings_of
from resnet_backbone.detection.settle import read_initial_weights, settle_detector
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.presets import IMAGENET
from resnet_backbone.weights.stored import Stored
from tests.helpers.tiny_rcnn import CLASS_NAMES, tiny_config, tiny_detector

MODEL = {
    "mask": True,
    "fpn_channels": 64,
    "weights": "older.pth",
    "allow_extra": ["x.*"],
    "backbone": {
        "name": "timm/resnet26",
        "norm": "BN",
        "freeze_at": 0,
        "options": {"drop_rate": 0.5},
        "weights": "oldest.pth",
    },
    "roi": {"detections_per_image": 20, "box_fc_dim": 128},
}
SOLVER = {"optimizer": "adamw", "lr": 8e-3, "weight_decay": 0.3, "batch_size": 8}
WRITTEN_BY = Config.model_validate(
    {
        "model": MODEL,
        "data": {"min_sizes": [128], "max_size": 131, "flip": 0.0, "root": "theirs"},
        "solver": SOLVER,
    }
)


def stored(cfg=WRITTEN_BY, kind="fpn"):
    text = {} if cfg is None else {"config": cfg.model_dump_json()}
    return Stored("w.safetensors", {}, "ours", kind, None, text)


def config(overrides=(), solver=(), **model):
    return Config.model_validate(
        {
            "model": {"settings": "from_weights", "weights": "w.safetensors", **model},
            "data": {"root": "mine"},
            "solver": {"recipe": "auto", **dict(solver)},
            "overrides": overrides,
        }
    )


def test_the_network_and_the_image_sizes_are_taken_and_said(caplog):
    caplog.set_level(logging.INFO)
    cfg = with_settings_of(config(), stored())
    assert cfg.model.fpn_channels == 64 and cfg.model.roi.box_fc_dim == 128
    assert cfg.model.backbone.name == "timm/resnet26" and cfg.model.backbone.norm == "BN"
    assert cfg.model.backbone.options == {"drop_rate": 0.5}
    assert (cfg.data.min_sizes, cfg.data.max_size) == ((128,), 131)
    assert "w.safetensors (model.settings=from_weights): " in caplog.text
    assert "backbone.name resnet50 -> timm/resnet26" in caplog.text
    assert with_settings_of(cfg, stored()) == cfg


def test_what_is_of_the_run_stays():
    cfg = with_settings_of(config(), stored())
    assert not cfg.model.mask and cfg.model.weights == "w.safetensors"
    assert cfg.model.allow_extra == () and cfg.model.backbone.weights is None
    assert (cfg.data.flip, cfg.data.root) == (0.5, "mine")
    assert cfg.solver.lr == 0.02  # see the recipe


def test_other_values_and_the_command_line_win():
    cfg = with_settings_of(
        config(["model.fpn_channels=256"], roi={"detections_per_image": 7}), stored()
    )
    assert cfg.model.fpn_channels == 256 and cfg.model.roi.detections_per_image == 7


@pytest.mark.parametrize("weights", [None, stored(None), stored(kind="backbone")])
def test_without_the_configuration_of_a_detector_all_stays(weights):
    assert with_settings_of(config(), weights) == config()


def test_it_has_to_be_asked_for():
    assert with_settings_of(config(settings="config"), stored()) == config(settings="config")


def test_damaged_settings_and_those_that_do_not_fit_are_refused():
    damaged = Stored("w", {}, "ours", "fpn", None, {"config": "{"})
    with pytest.raises(WeightsError, match="config"):
        with_settings_of(config(), damaged)
    with pytest.raises(ValueError, match="anchors.sizes has 3 lists"):
        anchors = {"sizes": [[8], [16], [32]]}
        Config.model_validate({"model": {"rpn": {"anchors": anchors}}})


def settled(cfg, card=None):
    weights = Stored("w", {}, "ours", "fpn", card, stored().text)
    pixels = {name: IMAGENET[name] for name in ("channel_order", "mean", "std")}
    model = cfg.model.model_copy(
        update={
            "pixels": cfg.model.pixels.model_copy(update=pixels),
            "backbone": cfg.model.backbone.model_copy(update={"stride_in_1x1": False}),
        }
    )
    return settle_detector(cfg.model_copy(update={"model": model}), weights).solver


@pytest.mark.parametrize("recipe", ["auto", "from_weights"])
def test_the_optimizer_is_that_of_the_run_for_this_batch_size(recipe, caplog):
    """The rate is linear in the batch: 8e-3 for 8 images are 4e-3 for 4."""
    caplog.set_level(logging.INFO)
    cfg = config(solver={"recipe": recipe, "reference_batch_size": 4, "optimizer": "sgd"})
    solver = settled(cfg)
    assert (solver.optimizer, solver.lr, solver.weight_decay) == ("adamw", 4e-3, 0.3)
    assert f"solver.recipe is {recipe}: optimizer adamw, lr 0.004, weight_decay 0.3" in caplog.text


def test_the_command_line_wins_over_the_recipe():
    cfg = config(["solver.lr=0.5"], {"lr": 0.5, "reference_batch_size": 4})
    assert (settled(cfg).lr, settled(cfg).optimizer) == (0.5, "adamw")


def test_automatic_without_a_recipe_is_the_configurations():
    pixels = {name: IMAGENET[name] for name in ("channel_order", "mean", "std")}
    cfg = config(pixels=pixels, weights=None)
    assert settle_detector(cfg).solver == cfg.solver
    with pytest.raises(ConfigError, match="there are no weights"):
        settle_detector(config(solver={"recipe": "from_weights"}, weights=None))


@pytest.fixture(scope="module")
def detector_files(tmp_path_factory):
    """A Mask R-CNN and a Faster R-CNN of three classes, as runs of ours leave them."""
    folder = tmp_path_factory.mktemp("detectors")
    files = {}
    for mask in (True, False):
        cfg = settle_detector(tiny_config(mask=mask))
        cfg = cfg.model_copy(update={"solver": cfg.solver.model_copy(update={"batch_size": 16})})
        card = {"config": cfg.model_dump_json(), "class_names": json.dumps(CLASS_NAMES)}
        files[mask] = folder / f"mask_{mask}.safetensors"
        save_weights(tiny_detector(cfg), files[mask], card)
    return files


@pytest.mark.parametrize(
    ("name", "mask", "from_mask"),
    [
        ("finetune", True, True),
        ("finetune", True, False),
        ("finetune_frcnn", False, True),
        ("finetune_frcnn", False, False),
    ],
)
def test_the_shipped_files_go_on_from_either_kind_of_detector(
    name, mask, from_mask, detector_files, caplog
):
    """The network is the file's; only layers of the classes, and a missing mask head, are drawn."""
    caplog.set_level(logging.INFO)
    cfg = load_config(f"{name}.yaml", [f"model.weights={detector_files[from_mask]}"])
    weights = read_initial_weights(cfg.model)
    cfg = settle_detector(with_settings_of(cfg, weights), weights)
    model = build_detector(cfg, 2, class_names=("nut", "bolt"), weights=weights)
    assert cfg.model.mask == mask
    assert (cfg.solver.optimizer, cfg.solver.lr) == ("sgd", pytest.approx(0.02 * 4 / 16))
    before, after = load_file(detector_files[from_mask]), model.state_dict()
    kept = {
        key for key, tensor in before.items() if torch.equal(tensor, after.get(key, tensor[:0]))
    }
    anew = {key for key in after if key not in kept}
    assert {key for key in anew if not key.startswith("roi_heads.mask_head.")} == {
        f"roi_heads.predictor.{layer}.{kind}"
        for layer in ("classifier", "regressor")
        for kind in ("weight", "bias")
    }
    of_masks = {key for key in anew if key.startswith("roi_heads.mask_head.")}
    assert len(of_masks) == {(True, True): 2, (True, False): 6}.get((mask, from_mask), 0)
    assert "roi_heads.predictor.classifier" in caplog.text
