"""What a classifier's configuration leaves to its weights; both tasks' rule in test_agreement."""

import pytest

from resnet_backbone.classification.settle import settle_classifier
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.presets import IMAGENET, MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored

MEAN, STD = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)


def stored(card):
    """Weights of which the facts alone matter."""
    return Stored("their.pth", {}, "torchvision", "backbone", card)


def config(**model):
    return ClassifierConfig.model_validate(model)


def test_without_weights_everything_is_torchvisions():
    settled = settle_classifier(config())
    assert settled.pixels.settled() == ("RGB", IMAGENET["mean"], IMAGENET["std"])
    assert (settled.stride_in_1x1, settled.norm_eps) == (False, 1e-5)


def test_without_weights_what_is_stated_holds():
    pixels = {"channel_order": "BGR", "mean": MEAN, "std": STD}
    settled = settle_classifier(config(pixels=pixels, stride_in_1x1=True, norm_eps=1e-3))
    assert settled.pixels.settled() == ("BGR", MEAN, STD)
    assert (settled.stride_in_1x1, settled.norm_eps) == (True, 1e-3)


def test_a_card_says_what_is_not_stated():
    card = MSRA.model_copy(update={"norm_eps": 1e-3})
    settled = settle_classifier(config(pixels={"mean": MSRA.mean}), stored(card))
    assert settled.pixels.settled() == ("BGR", MSRA.mean, MSRA.std)
    assert (settled.stride_in_1x1, settled.norm_eps) == (True, 1e-3)


def test_a_card_for_pixels_from_0_to_1_is_brought_to_255():
    card = WeightsCard(
        stride_in_1x1=False,
        channel_order="RGB",
        pixel_scale=1,
        mean=(0.5, 0.25, 1.0),
        std=(0.2, 0.4, 1.0),
    )
    pixels = settle_classifier(config(), stored(card)).pixels
    assert pixels.mean == pytest.approx((127.5, 63.75, 255.0))
    assert pixels.std == pytest.approx((51.0, 102.0, 255.0))


def test_nothing_else_changes_and_settling_twice_changes_nothing():
    cfg = config(name="resnet34", loss="bce", num_classes=9, weights="their.pth")
    once = settle_classifier(cfg, stored(TORCHVISION))
    assert settle_classifier(once, stored(TORCHVISION)) == once
    decided = {"pixels", "stride_in_1x1", "norm_eps"}
    assert once.model_dump(exclude=decided) == cfg.model_dump(exclude=decided)


def test_all_contradictions_are_shown_with_their_keys():
    cfg = config(stride_in_1x1=False, pixels={"channel_order": "RGB", "std": STD})
    with pytest.raises(ConfigError) as caught:
        settle_classifier(cfg, stored(MSRA))
    assert str(caught.value).split("\n") == [
        "the settings contradict the card of their.pth:",
        "  model.stride_in_1x1: got False, but the card says True",
        "  model.pixels.channel_order: got 'RGB', but the card says 'BGR'",
        f"  model.pixels.std: got {STD}, but the card says {MSRA.std}",
        "leave these keys out to take the card's",
    ]


def test_networks_without_bottlenecks_have_no_stride_to_state():
    pixels = {"channel_order": "RGB", "mean": MEAN, "std": STD}
    with pytest.raises(ConfigError, match=r"their\.pth: .*; set model\.stride_in_1x1 \(stride:"):
        settle_classifier(config(pixels=pixels), stored(None))
    settled = settle_classifier(config(name="resnet34", pixels=pixels), stored(None))
    assert settled.stride_in_1x1 is False


def test_torchvisions_names_need_no_download():
    settled = settle_classifier(config(weights="torchvision/IMAGENET1K_V2"))
    assert settled.pixels.settled() == ("RGB", IMAGENET["mean"], IMAGENET["std"])


def test_a_mean_image_stands_for_the_mean_of_unknown_weights():
    pixels = {"channel_order": "BGR", "std": STD}
    cfg = config(name="resnet34", pixels=pixels)
    with pytest.raises(ConfigError, match=r"set model\.pixels\.mean$"):
        settle_classifier(cfg, stored(None))
    with_image = cfg.model_copy(update={"mean_image": "mean.safetensors"})
    settled = settle_classifier(with_image, stored(None))
    assert settled.pixels.settled() == ("BGR", TORCHVISION.mean[::-1], STD)


def test_an_unknown_network_is_noticed_before_its_weights_are_looked_for():
    with pytest.raises(ConfigError, match="unknown backbone 'resnet5O'"):
        settle_classifier(config(name="resnet5O", weights="not/there.pth"))
