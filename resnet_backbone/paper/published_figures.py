"""What the paper's figures show and claim (He et al. 2016, figures 1, 4, 6 and 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_backbone.paper.published import CIFAR_SCHEDULE, IMAGENET_SCHEDULE, Schedule

PLAIN_CIFAR = ("plain20_cifar", "plain32_cifar", "plain44_cifar", "plain56_cifar")
RESIDUAL_CIFAR = (
    *("resnet20_cifar", "resnet32_cifar", "resnet44_cifar", "resnet56_cifar"),
    "resnet110_cifar",
)


@dataclass(frozen=True)
class PublishedFigure:
    """Curves of a figure, whose message is which network ends below which.

    Attributes:
        key: "figure1" and so on.
        title: What it shows.
        schedule: How the networks were trained.
        networks: Whose curves are drawn.
        claims: (network, metric, network): the first ends with the lower error of the two. The
            metric is "training_error" or "test_error".
    """

    key: str
    title: str
    schedule: Schedule
    networks: tuple[str, ...]
    claims: tuple[tuple[str, Literal["training_error", "test_error"], str], ...]


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
# Figure 7 draws these; its message: the responses of residual networks are the smaller ones, and
# the deeper the network, the less a single layer changes the signal.
FIGURE_7_NETWORKS = (
    *("plain20_cifar", "plain56_cifar"),
    *("resnet20_cifar", "resnet56_cifar", "resnet110_cifar"),
)

FIGURES = (FIGURE_1, FIGURE_4, FIGURE_6)
