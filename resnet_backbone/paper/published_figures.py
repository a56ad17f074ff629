"""What the paper's figures show and what its text claims about them (He et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_backbone.paper.published import CIFAR_SCHEDULE, IMAGENET_SCHEDULE, Schedule

# Section 3.3: plain-34's multiply-adds, in percent of VGG-19's.
PLAIN_34_OF_VGG_19 = 18.0
FIGURE_3_NETWORKS = {"vgg19": "VGG-19", "plain34": "plain-34", "resnet34_a": "ResNet-34"}

PLAIN_CIFAR = ("plain20_cifar", "plain32_cifar", "plain44_cifar", "plain56_cifar")
RESIDUAL_CIFAR = (
    *("resnet20_cifar", "resnet32_cifar", "resnet44_cifar", "resnet56_cifar"),
    "resnet110_cifar",
)

# (network with the lower final error, which error, network with the higher final error)
Claim = tuple[str, Literal["training_error", "test_error"], str]


@dataclass(frozen=True)
class PublishedFigure:
    """A figure with error curves, whose message is which network ends with the lower error.

    Attributes:
        key: "figure1" and so on.
        title: What it shows.
        schedule: The training schedule.
        networks: The networks whose curves are drawn.
        claims: What the paper's text says about them.
    """

    key: str
    title: str
    schedule: Schedule
    networks: tuple[str, ...]
    claims: tuple[Claim, ...]


FIGURE_1 = PublishedFigure(
    "figure1",
    "CIFAR-10, plain networks: the deeper one has the higher training and test error",
    CIFAR_SCHEDULE,
    ("plain20_cifar", "plain56_cifar"),
    (
        ("plain20_cifar", "training_error", "plain56_cifar"),
        ("plain20_cifar", "test_error", "plain56_cifar"),
    ),
)
FIGURE_4 = PublishedFigure(
    "figure4",
    "ImageNet: plain-34 is worse than plain-18, ResNet-34 better than ResNet-18",
    IMAGENET_SCHEDULE,
    ("plain18", "plain34", "resnet18_a", "resnet34_a"),
    (
        ("plain18", "training_error", "plain34"),
        ("plain18", "test_error", "plain34"),
        ("resnet34_a", "training_error", "resnet18_a"),
        ("resnet34_a", "test_error", "resnet18_a"),
    ),
)
FIGURE_6 = PublishedFigure(
    "figure6",
    "CIFAR-10: depth hurts plain networks and helps residual ones",
    CIFAR_SCHEDULE,
    (*PLAIN_CIFAR, *RESIDUAL_CIFAR, "resnet1202_cifar"),
    (
        ("plain20_cifar", "training_error", "plain56_cifar"),
        ("plain20_cifar", "test_error", "plain56_cifar"),
        ("resnet56_cifar", "training_error", "resnet20_cifar"),
        ("resnet56_cifar", "test_error", "resnet20_cifar"),
        ("resnet110_cifar", "test_error", "resnet56_cifar"),
        ("resnet56_cifar", "test_error", "plain56_cifar"),
    ),
)
# Section 4.2: residual networks generally have smaller responses than plain ones, and the deeper a
# residual network, the less each layer modifies the signal.
FIGURE_7_NETWORKS = (
    *("plain20_cifar", "plain56_cifar"),
    *("resnet20_cifar", "resnet56_cifar", "resnet110_cifar"),
)
# (smaller responses, larger responses)
FIGURE_7_CLAIMS = (
    ("resnet20_cifar", "plain20_cifar"),
    ("resnet56_cifar", "plain56_cifar"),
    ("resnet56_cifar", "resnet20_cifar"),
    ("resnet110_cifar", "resnet56_cifar"),
)

FIGURES = (FIGURE_1, FIGURE_4, FIGURE_6)
