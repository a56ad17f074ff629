"""Against counts written out, and the figures that the assumptions start from."""

import pytest

from resnet_backbone.errors import ConfigError
from resnet_backbone.paper.complexity import measure
from resnet_backbone.paper.cost import detection_hours, total, training_hours
from resnet_backbone.paper.published import CIFAR_SCHEDULE, IMAGENET_SCHEDULE


def test_the_references_cost_images_by_rate():
    assert training_hours("resnet50", IMAGENET_SCHEDULE) == pytest.approx(
        600_000 * 256 / 2470 / 3600
    )
    assert training_hours("resnet20_cifar", CIFAR_SCHEDULE) == pytest.approx(
        64_000 * 128 / 6000 / 3600
    )


def test_others_by_their_multiply_adds():
    ratio = training_hours("resnet18", IMAGENET_SCHEDULE) / training_hours(
        "resnet50", IMAGENET_SCHEDULE
    )
    assert ratio == pytest.approx(1.814 / 4.089, rel=1e-3)  # torchvision's counts
    members = ("resnet34", "resnet34_c", "resnet50", "resnet101", "resnet152", "resnet152")
    hours = [training_hours(member, IMAGENET_SCHEDULE) for member in members]
    assert training_hours("ensemble", IMAGENET_SCHEDULE) == pytest.approx(sum(hours))


def test_the_deepest_network_without_building_it():
    deepest = total("resnet1202_cifar")
    assert deepest.parameters == 19_421_274  # known of it, option A
    # Each further pair of 3x3 convolutions costs the same number in all three stages.
    more = (1202 - 110) // 6 * 3 * 2 * 9 * 32 * 32 * 16 * 16
    assert deepest.multiply_adds == measure("resnet110_cifar")[-1].multiply_adds + more


def test_detection():
    # 320,000 steps of 0.619 s on 8 GPUs.
    assert detection_hours("table8") == pytest.approx(440.2, abs=0.1)
    assert detection_hours("table7") < detection_hours("table8")


def test_unknown_networks():
    with pytest.raises(ConfigError, match="resnet51"):
        training_hours("resnet51", IMAGENET_SCHEDULE)
