"""What a detector takes over from a classifier: its backbone, and what must be known of it."""

import pytest
import torch
from torch.nn import functional as F

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.create import create_backbone
from resnet_backbone.tasks.classification.export import backbone_weights, classifier_card
from resnet_backbone.weights.presets import CLASSIC, LONG, STRIKES_BACK


@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet18d", "resnetv2_18"])
def test_the_backbone_is_all_but_the_head(name):
    network = create_classifier(name, num_classes=5).eval()
    net = create_backbone(name, norm="BN").eval()
    net.load_state_dict(backbone_weights(network))  # strict: nothing is missing or left over
    x = torch.randn(2, 3, 65, 49)
    with torch.no_grad():
        expected = network.features(x)
        found = net(x)
    assert all(torch.equal(found[name], feature) for name, feature in expected.items())


def model(pixel_mean=None, order="RGB", **options):
    network = create_classifier("resnet20_cifar", num_classes=5, **options)
    mean = torch.tensor((1.0, 2.0, 3.0)) if pixel_mean is None else pixel_mean
    return ImageClassifier(
        network, F.cross_entropy, pixel_mean=mean, pixel_std=(4.0, 5.0, 7.0), channel_order=order
    )


def config(**sections):
    tree = ClassificationConfig(name="mine").model_dump()
    for name, values in sections.items():
        tree[name] |= values
    return ClassificationConfig.model_validate(tree)


def test_the_card_says_what_the_network_does_to_pixels():
    cfg = config(model={"name": "resnet20_cifar"}, data={"interpolation": "bicubic"})
    card = classifier_card(model(order="BGR", norm_eps=1e-3, stride_in_1x1=True), cfg, 0.123456)
    assert card.missing_facts() == ()
    assert (card.arch, card.layout, card.source) == (
        "resnet20_cifar",
        "ours",
        "resnet_backbone, mine",
    )
    assert (card.channel_order, card.pixel_scale) == ("BGR", 255)
    assert card.mean == (1.0, 2.0, 3.0)
    # Kept as 1 / std in float32: seven digits, of which four decimals are written.
    assert card.std == pytest.approx((4.0, 5.0, 7.0), abs=1e-4)
    assert (card.stride_in_1x1, card.norm_eps, card.interpolation) == (True, 1e-3, "bicubic")
    assert card.top1 == 87.654


def test_an_error_that_is_not_known_is_not_in_the_card():
    assert classifier_card(model(), config(), None).top1 is None


def test_of_a_mean_image_the_colour_remains():
    mean = torch.rand(3, 5, 7) * 255
    card = classifier_card(model(pixel_mean=mean), config(), None)
    assert card.mean == pytest.approx(mean.mean(dim=(1, 2)).tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("sections", "recipe"),
    [
        ({}, CLASSIC),
        ({"data": {"mixup": 0.2}}, LONG),
        ({"data": {"cutmix": 1.0}}, LONG),
        ({"solver": {"optimizer": "lamb"}}, STRIKES_BACK),
        ({"solver": {"optimizer": "lamb"}, "data": {"mixup": 0.2}}, STRIKES_BACK),
        ({"model": {"label_smoothing": 0.1}}, CLASSIC),
    ],
)
def test_the_recipe_for_detectors_follows_that_of_the_pretraining(sections, recipe):
    assert classifier_card(model(), config(**sections), None).recipe == recipe
