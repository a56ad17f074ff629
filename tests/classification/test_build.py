"""What the configuration says is what the classifier is made of."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_backbone.classification.build import build_image_classifier
from resnet_backbone.classification.create import create_classifier
from resnet_backbone.config.classification_schema import ClassifierConfig
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import read_weights

NAME = "resnet20_cifar"
PIXELS = {"channel_order": "BGR", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 8.0)}


def build(classes=5, mean_image=None, stored=None, **model):
    cfg = ClassifierConfig.model_validate({"name": NAME} | model)
    return build_image_classifier(cfg, classes, mean_image=mean_image, weights=stored)


def test_every_number_of_the_network_arrives():
    network = build(
        name="resnet50",
        norm="GN",
        norm_eps=1e-3,
        stride_in_1x1=True,
        zero_init_residual=True,
        stochastic_depth=0.25,
        activation_checkpointing=True,
    ).network
    assert isinstance(network.bn1, nn.GroupNorm) and network.bn1.eps == 1e-3
    assert network.layer2[0].conv1.stride == (2, 2)
    assert not network.layer2[0].bn3.weight.any()
    assert network.layer4[-1].drop_rate == 0.25
    assert network.layer1.activation_checkpointing


def test_pixels_are_what_the_configuration_says():
    model = build(pixels=PIXELS)
    images = torch.randint(0, 256, (2, 3, 7, 5))
    # Batches are RGB; the network's first channel is blue.
    for channel, (mean, std) in enumerate(zip(PIXELS["mean"], PIXELS["std"], strict=True)):
        expected = (images[:, 2 - channel].float() - mean) / std
        torch.testing.assert_close(model.normalize(images)[:, channel], expected)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_mean_image_in_rgb_is_turned_to_what_the_network_sees(order):
    mean = torch.rand(3, 7, 5) * 255
    pixels = {"channel_order": order, "std": (1.0, 1.0, 1.0)}
    model = build(pixels=pixels, mean_image=mean)
    assert not model.normalize(mean[None]).any()  # whatever the order, it is subtracted from itself
    assert torch.equal(model.pixel_mean, mean.flip(0) if order == "BGR" else mean)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_torchs(smoothing):
    scores, labels = torch.randn(6, 5), torch.arange(6) % 5
    entropy = build(label_smoothing=smoothing).loss(scores, labels)
    expected = F.cross_entropy(scores, labels, label_smoothing=smoothing)
    torch.testing.assert_close(entropy, expected)
    binary = build(label_smoothing=smoothing, loss="bce").loss(scores, labels)
    rows = F.one_hot(labels, 5) * (1 - smoothing) + smoothing / 5
    torch.testing.assert_close(binary, F.binary_cross_entropy_with_logits(scores, rows))


def test_there_are_as_many_outputs_as_the_data_have_classes_or_the_configuration_says():
    assert build(7).network.fc.out_features == 7
    assert build(7, num_classes=9).network.fc.out_features == 9
    with pytest.raises(
        ConfigError, match=r"model\.num_classes is 5, but the dataset has 7 classes"
    ):
        build(7, num_classes=5)


def test_the_result_is_ready_to_be_trained():
    model = build()
    assert model.training and model.network.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    wide = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)


@pytest.fixture
def donor(tmp_path):
    net = create_classifier(NAME, num_classes=5)
    save_weights(net, tmp_path / "w.safetensors", WeightsCard(**PIXELS))
    return net, tmp_path / "w.safetensors"


@pytest.mark.parametrize("read", [False, True])
def test_training_can_start_from_weights_and_their_pixels(donor, read):
    net, path = donor
    model = build(stored=read_weights(path)) if read else build(weights=str(path))
    assert torch.equal(model.network.fc.weight, net.fc.weight)
    assert torch.equal(model.network.layer3[2].conv2.weight, net.layer3[2].conv2.weight)
    assert (model.channel_order, model.pixel_mean.flatten().tolist()) == ("BGR", [1, 2, 3])
    torch.testing.assert_close(1 / model.pixel_scale.flatten(), torch.tensor(PIXELS["std"]))


def test_weights_of_another_number_of_classes_fill_all_but_the_last_layer(donor, caplog):
    model = build(6, weights=str(donor[1]))
    assert model.network.fc.out_features == 6
    assert torch.equal(model.network.conv1.weight, donor[0].conv1.weight)
    assert "the file has 5 classes, the model 6" in caplog.text
    with pytest.raises(WeightsError, match=r"of another shape: fc\.weight \[5, 64\] for \[6, 64\]"):
        build(6, weights=str(donor[1]), class_layers="copy")
