"""Networks built for weights stride where these do, or are refused."""

import pytest
import torch

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.settle import settle_classifier
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.presets import MSRA, TORCHVISION


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    net = create_classifier("resnet50", num_classes=5)
    basic = create_classifier("resnet18", num_classes=5)
    save_weights(net, folder / "msra.safetensors", MSRA.model_copy(update={"norm_eps": 1e-3}))
    save_weights(net, folder / "unknown.safetensors", {})
    save_weights(basic, folder / "basic.safetensors", {})
    return folder


@pytest.mark.parametrize("create", [create_backbone, create_classifier])
def test_the_cards_stride_and_eps_are_taken(files, create):
    more = {"num_classes": 5} if create is create_classifier else {"norm": "BN"}
    net = create("resnet50", weights=files / "msra.safetensors", **more)
    assert net.layer2[0].conv1.stride == (2, 2)
    assert net.bn1.eps == 1e-3


@pytest.mark.parametrize("create", [create_backbone, create_classifier])
def test_what_contradicts_it_is_refused(files, create):
    with pytest.raises(ConfigError, match=r"stride_in_1x1: got False, but the card says True"):
        create("resnet50", weights=files / "msra.safetensors", stride_in_1x1=False)
    with pytest.raises(ConfigError, match=r"norm_eps: got 1e-05, but the card says 0\.001"):
        create("resnet50", weights=files / "msra.safetensors", norm_eps=1e-5)


def test_where_nothing_is_known_the_stride_must_be_stated(files):
    path = files / "unknown.safetensors"
    with pytest.raises(ConfigError, match=r"nothing is known about .*; set stride_in_1x1 \(str"):
        create_backbone("resnet50", weights=path)
    net = create_backbone("resnet50", weights=path, stride_in_1x1=True)
    assert net.layer2[0].conv1.stride == (2, 2)


def test_basic_blocks_have_nothing_to_state(files):
    create_backbone("resnet18", weights=files / "basic.safetensors")


def test_a_network_that_was_built_otherwise_is_not_filled(files):
    net = create_backbone("resnet50", norm="BN", norm_eps=1e-3)
    before = net.conv1.weight.clone()
    with pytest.raises(WeightsError, match="its card says stride_in_1x1=True, but the network was"):
        load_weights(net, files / "msra.safetensors")
    assert torch.equal(net.conv1.weight, before)
    other = create_backbone("resnet50", norm="BN", stride_in_1x1=True)
    with pytest.raises(WeightsError, match=r"norm_eps=0\.001, but the network was built"):
        load_weights(other, files / "msra.safetensors")


# --- one rule for both tasks ---


def detector(weights, pixels, **network):
    model = {"backbone": {"weights": str(weights), **network}, "pixels": pixels}
    return settle_detector(Config.model_validate({"model": model})).model


def classifier(weights, pixels, **network):
    model = {"weights": str(weights), "pixels": pixels, **network}
    return settle_classifier(ClassifierConfig.model_validate(model))


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "w.safetensors"
    save_weights(create_backbone("resnet50", norm="BN"), path, TORCHVISION)
    return path


BOTH = pytest.mark.parametrize(
    ("settle", "place"), [(detector, "model.backbone."), (classifier, "model.")]
)


@BOTH
def test_a_mean_of_one_decimal_is_no_contradiction(settle, place, torchvisions):
    rounded = (123.7, 116.3, 103.5)
    assert settle(torchvisions, {"mean": rounded}).pixels.mean == rounded


@BOTH
def test_another_mean_order_and_stride_are_shown_together(settle, place, torchvisions):
    pixels = {"channel_order": "BGR", "mean": (103.5, 116.3, 123.7)}
    with pytest.raises(ConfigError) as caught:
        settle(torchvisions, pixels, stride_in_1x1=True)
    text = str(caught.value)
    assert f"{place}stride_in_1x1: got True, but the card says False" in text
    assert "model.pixels.channel_order: got 'BGR', but the card says 'RGB'" in text
    assert "model.pixels.mean: got (103.5, 116.3, 123.7), but the card says (123.675," in text


@BOTH
def test_of_an_unknown_file_every_fact_is_asked_for(settle, place, files):
    with pytest.raises(ConfigError) as caught:
        settle(files / "unknown.safetensors", {"std": (1.0, 1.0, 1.0)})
    keys = f"set {place}stride_in_1x1, model.pixels.channel_order, model.pixels.mean (stride:"
    assert keys in str(caught.value)
    stated = {"channel_order": "BGR", "mean": (1.0, 2.0, 3.0), "std": (1.0, 1.0, 1.0)}
    found = settle(files / "unknown.safetensors", stated, stride_in_1x1=True)
    assert found.pixels.settled() == ("BGR", (1.0, 2.0, 3.0), (1.0, 1.0, 1.0))


@BOTH
def test_a_stated_eps_contradicts_no_unknown_file(settle, place, files):
    stated = {"channel_order": "BGR", "mean": (1.0, 2.0, 3.0), "std": (1.0, 1.0, 1.0)}
    settle(files / "unknown.safetensors", stated, stride_in_1x1=True, norm_eps=1e-3)


@BOTH
def test_settling_twice_changes_nothing(settle, place, torchvisions):
    once = settle(torchvisions, {})
    network = {"stride_in_1x1": False, "norm_eps": 1e-5}
    assert settle(torchvisions, once.pixels.model_dump(), **network) == once


def test_a_mean_image_stands_for_the_mean(files):
    pixels = {"channel_order": "BGR", "std": (1.0, 1.0, 1.0)}
    path = files / "unknown.safetensors"
    found = classifier(path, pixels, stride_in_1x1=True, mean_image="mean.safetensors")
    assert found.pixels.mean == TORCHVISION.mean[::-1]  # only colours what is padded


@BOTH
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_without_weights_torchvisions_numbers_come_in_the_stated_order(settle, place, order):
    pixels = settle_without(settle, {"channel_order": order}).pixels
    ours = dict(zip(order, zip(pixels.mean, pixels.std, strict=True), strict=True))
    theirs = zip(TORCHVISION.mean, TORCHVISION.std, strict=True)
    assert ours == dict(zip("RGB", theirs, strict=True))


def settle_without(settle, pixels):
    if settle is detector:
        return settle_detector(Config.model_validate({"model": {"pixels": pixels}})).model
    return settle_classifier(ClassifierConfig.model_validate({"pixels": pixels}))
