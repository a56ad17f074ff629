"""The paper's classification results (He et al. 2016, tables 2 to 6).

The counts of table 1 and the parameters of table 6 are in `paper.complexity`, which also computes
ours. Figures are in `paper.published_figures`, detection results in `paper.published_detection`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Metric = Literal["top1_error", "top5_error", "AP50", "AP", "mAP"]
Statistic = Literal["one run", "best of 5 runs", "mean of 5 runs"]


@dataclass(frozen=True)
class Published:
    """One number of a table.

    Attributes:
        label: The row's name in the paper.
        value: The error, AP or mAP, in percent.
        metric: What `value` is.
        network: The network's name in this package; None for other authors' results that the paper
            quotes, and for ensembles and other systems.
        statistic: Over which runs it is computed.
        spread: Standard deviation over the runs in percentage points, if the paper states it.
        condition: What applies to this row only.
    """

    label: str
    value: float
    metric: Metric = "top1_error"
    network: str | None = None
    statistic: Statistic = "one run"
    spread: float | None = None
    condition: str = ""


@dataclass(frozen=True)
class Schedule:
    """The paper's training schedule.

    Attributes:
        dataset: "cifar10" or "imagenet".
        max_iter: Maximum number of steps.
        milestones: Steps at which the learning rate is divided by 10; empty: on plateaus of the
            error.
        lr: Initial learning rate.
        batch_size: Images per step.
        training_images: Number of images in the training set, to convert steps to epochs.
    """

    dataset: str
    max_iter: int
    milestones: tuple[int, ...]
    lr: float
    batch_size: int
    training_images: int

    @property
    def images(self) -> int:
        """Number of images processed in the whole training, with repetitions."""
        return self.max_iter * self.batch_size


# Section 4.2: learning rate and milestones were chosen on a 45k / 5k split of the training images.
CIFAR_SCHEDULE = Schedule("cifar10", 64_000, (32_000, 48_000), 0.1, 128, 50_000)
# Section 3.4: up to 60 x 10^4 iterations.
IMAGENET_SCHEDULE = Schedule("imagenet", 600_000, (), 0.1, 256, 1_281_167)


@dataclass(frozen=True)
class PublishedTable:
    """A table of numbers that were measured under the same conditions.

    Attributes:
        key: "table2" and so on.
        title: What is compared, and under which conditions.
        testing: The test method, as in `evaluation.testing`.
        schedule: The training schedule; None for detectors.
        rows: The numbers.
    """

    key: str
    title: str
    testing: Literal["single", "ten_crop", "multi_scale", "ensemble", "detection"]
    schedule: Schedule | None
    rows: tuple[Published, ...]


def _errors(
    label: str, top1: float | None, top5: float | None, network: str | None = None, note: str = ""
) -> tuple[Published, ...]:
    given: tuple[tuple[Metric, float | None], ...] = (("top1_error", top1), ("top5_error", top5))
    return tuple(
        Published(label, value, metric, network, condition=note)
        for metric, value in given
        if value is not None
    )


TABLE_2 = PublishedTable(
    "table2",
    "ImageNet validation, top-1 error in %, 10 crops; plain and residual, option A",
    "ten_crop",
    IMAGENET_SCHEDULE,
    (
        *_errors("plain-18", 27.94, None, "plain18"),
        *_errors("plain-34", 28.54, None, "plain34"),
        *_errors("ResNet-18", 27.88, None, "resnet18_a"),
        *_errors("ResNet-34", 25.03, None, "resnet34_a"),
    ),
)
TABLE_3 = PublishedTable(
    "table3",
    "ImageNet validation, error in %, 10 crops; options A, B and C",
    "ten_crop",
    IMAGENET_SCHEDULE,
    (
        *_errors("VGG-16", 28.07, 9.33),
        *_errors("GoogLeNet", None, 9.15),
        *_errors("PReLU-net", 24.27, 7.38),
        *_errors("plain-34", 28.54, 10.02, "plain34"),
        *_errors("ResNet-34 A", 25.03, 7.76, "resnet34_a"),
        *_errors("ResNet-34 B", 24.52, 7.46, "resnet34"),
        *_errors("ResNet-34 C", 24.19, 7.40, "resnet34_c"),
        *_errors("ResNet-50", 22.85, 6.71, "resnet50"),
        *_errors("ResNet-101", 21.75, 6.05, "resnet101"),
        *_errors("ResNet-152", 21.43, 5.71, "resnet152"),
    ),
)
TABLE_4 = PublishedTable(
    "table4",
    "ImageNet validation, error in %, one model, scores averaged over sides 224 to 640",
    "multi_scale",
    IMAGENET_SCHEDULE,
    (
        *_errors("VGG (ILSVRC'14)", None, 8.43, note="on the test set"),
        *_errors("GoogLeNet (ILSVRC'14)", None, 7.89),
        *_errors("VGG (v5)", 24.4, 7.1),
        *_errors("PReLU-net", 21.59, 5.71),
        *_errors("BN-inception", 21.99, 5.81),
        *_errors("ResNet-34 B", 21.84, 5.71, "resnet34"),
        *_errors("ResNet-34 C", 21.53, 5.60, "resnet34_c"),
        *_errors("ResNet-50", 20.74, 5.25, "resnet50"),
        *_errors("ResNet-101", 19.87, 4.60, "resnet101"),
        *_errors("ResNet-152", 19.38, 4.49, "resnet152"),
    ),
)
TABLE_5 = PublishedTable(
    "table5",
    "ImageNet test (the server's labels), top-5 error in %, ensembles",
    "ensemble",
    IMAGENET_SCHEDULE,
    (
        *_errors("VGG (ILSVRC'14)", None, 7.32),
        *_errors("GoogLeNet (ILSVRC'14)", None, 6.66),
        *_errors("VGG (v5)", None, 6.8),
        *_errors("PReLU-net", None, 4.94),
        *_errors("BN-inception", None, 4.82),
        *_errors("ResNet (ILSVRC'15)", None, 3.57, "ensemble", "6 models, two of them ResNet-152"),
    ),
)
# The paper names two of the six members of its ensemble. The other four are assumed here, to
# estimate the cost of training.
ENSEMBLE = ("resnet34", "resnet34_c", "resnet50", "resnet101", "resnet152", "resnet152")

TABLE_6 = PublishedTable(
    "table6",
    "CIFAR-10 test error in %",
    "single",
    CIFAR_SCHEDULE,
    (
        Published("Maxout", 9.38),
        Published("NIN", 8.81),
        Published("DSN", 8.22),
        Published("FitNet-19", 8.39, condition="2.5M parameters"),
        Published("Highway-19", 7.54, statistic="best of 5 runs", condition="2.3M parameters"),
        Published("Highway-19", 7.72, statistic="mean of 5 runs", spread=0.16),
        Published("Highway-32", 8.80, condition="1.25M parameters"),
        Published("ResNet-20", 8.75, network="resnet20_cifar"),
        Published("ResNet-32", 7.51, network="resnet32_cifar"),
        Published("ResNet-44", 7.17, network="resnet44_cifar"),
        Published("ResNet-56", 6.97, network="resnet56_cifar"),
        Published("ResNet-110", 6.43, network="resnet110_cifar", statistic="best of 5 runs"),
        Published(
            "ResNet-110", 6.61, network="resnet110_cifar", statistic="mean of 5 runs", spread=0.16
        ),
        Published("ResNet-1202", 7.93, network="resnet1202_cifar"),
    ),
)
ERROR_TABLES = (TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6)
