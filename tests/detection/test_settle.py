"""The configuration and the weights' card: filled in, compared, or asked for."""

import pytest
import torch

from resnet_backbone.config.schema import Config
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.settle import recipe_warnings, settle_detector
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.presets import IMAGENET, MSRA, STRIKES_BACK


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")

    def write(name, card):
        path = folder / f"{name}.safetensors"
        save_weights(create_backbone("resnet50", norm="BN"), path, card)
        return str(path)

    return {
        "msra": write("msra", MSRA),
        "unknown": write("unknown", {}),
        "long": write("long", WeightsCard(**IMAGENET, recipe=STRIKES_BACK)),
    }


def config(weights=None, backbone=None, pixels=None, **sections):
    model = {"backbone": {"weights": weights} | (backbone or {}), "pixels": pixels or {}}
    return Config.model_validate({"model": model} | sections)


def test_without_weights_everything_is_torchvisions():
    model = settle_detector(config()).model
    assert model.pixels.channel_order == "RGB"
    assert (model.pixels.mean, model.pixels.std) == (IMAGENET["mean"], IMAGENET["std"])
    assert model.backbone.stride_in_1x1 is False
    assert model.backbone.norm_eps == 1e-5


def test_without_weights_nothing_is_contradicted():
    pixels = {"channel_order": "BGR", "mean": (1, 2, 3), "std": (1, 1, 1)}
    model = settle_detector(config(backbone={"stride_in_1x1": True}, pixels=pixels)).model
    assert model.pixels.mean == (1, 2, 3)
    assert model.backbone.stride_in_1x1 is True


def test_the_cards_facts_are_taken(weights):
    cfg = settle_detector(config(weights["msra"]))
    assert cfg.model.pixels.channel_order == "BGR"
    assert cfg.model.pixels.mean == MSRA.mean
    assert cfg.model.backbone.stride_in_1x1 is True
    assert settle_detector(cfg) == cfg


def test_torchvisions_names_need_no_download():
    cfg = settle_detector(config("torchvision/IMAGENET1K_V2"))
    assert cfg.model.pixels.mean == IMAGENET["mean"]


def test_a_contradiction_shows_both_sides(weights):
    cfg = config(weights["msra"], {"stride_in_1x1": False}, {"channel_order": "RGB"})
    with pytest.raises(ConfigError) as caught:
        settle_detector(cfg)
    text = str(caught.value)
    assert "model.backbone.stride_in_1x1: got False, but the card says True" in text
    assert "model.pixels.channel_order: got 'RGB', but the card says 'BGR'" in text
    assert "mean" not in text


def test_three_digits_are_no_contradiction(weights):
    pixels = {"mean": (103.530, 116.280, 123.675), "std": (1, 1, 1.0)}
    assert settle_detector(config(weights["msra"], pixels=pixels)).model.pixels.std == (1, 1, 1)


def test_unknown_files_need_the_missing_facts(weights):
    with pytest.raises(ConfigError) as caught:
        settle_detector(config(weights["unknown"], pixels={"channel_order": "BGR"}))
    text = str(caught.value)
    assert "set model.backbone.stride_in_1x1, model.pixels.mean, model.pixels.std" in text
    pixels = {"channel_order": "RGB", "mean": (0, 0, 0), "std": (255, 255, 255)}
    stated = settle_detector(config(weights["unknown"], {"stride_in_1x1": False}, pixels))
    assert stated.model.pixels.std == (255, 255, 255)


def test_basic_blocks_have_no_stride_to_state(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(create_backbone("resnet18", norm="BN"), path, {})
    pixels = {"channel_order": "RGB", "mean": (0, 0, 0), "std": (255, 255, 255)}
    settle_detector(config(str(path), {"name": "resnet18"}, pixels))


def test_the_recipe_of_the_weights(weights):
    classic = settle_detector(config(weights["long"]))
    assert classic.solver.optimizer == "sgd"
    (warning,) = recipe_warnings(classic)
    assert "detectors should be trained with AdamW" in warning
    assert "solver.recipe=from_weights for AdamW with lr 0.0002 and weight decay 0.05" in warning
    solver = {"recipe": "from_weights", "reference_batch_size": 8}
    chosen = settle_detector(config(weights["long"], solver=solver)).solver
    assert (chosen.optimizer, chosen.lr, chosen.weight_decay) == ("adamw", 1e-4, 0.05)
    literal = config(weights["long"], solver=solver | {"lr": 1.0}, overrides=("solver.lr=1.0",))
    assert settle_detector(literal).solver.lr == 1.0
    with pytest.raises(ConfigError, match=r"unknown\.safetensors has no recipe"):
        settle_detector(
            config(
                weights["unknown"],
                {"stride_in_1x1": False},
                pixels_of_torchvision(),
                **{"solver": solver},
            )
        )
    with pytest.raises(ConfigError, match="there are no weights"):
        settle_detector(config(solver=solver))


def pixels_of_torchvision():
    return {key: value for key, value in IMAGENET.items() if key != "stride_in_1x1"}


def test_the_model_strides_and_normalises_as_the_card_says(weights):
    model = build_detector(config(weights["msra"]), 3)
    assert model.channel_order == "BGR"
    assert model.backbone.layer2[0].conv1.stride == (2, 2)
    torch.testing.assert_close(model.pixel_mean.flatten(), torch.tensor(MSRA.mean))


def test_an_unknown_backbone_is_noticed_before_anything_is_done():
    with pytest.raises(ConfigError, match=r"model\.backbone\.name: unknown backbone 'resnet51'"):
        settle_detector(config(backbone={"name": "resnet51"}))
