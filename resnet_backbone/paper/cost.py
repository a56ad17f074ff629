"""Estimates what training the paper's networks on the paper's schedules would cost.

The published throughput of one network is scaled to the others by their multiply-adds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from resnet_backbone.paper.complexity import Part, measure
from resnet_backbone.paper.published import ENSEMBLE, Schedule
from resnet_backbone.paper.published_detection import COCO_ITERATIONS

# Training throughput of ResNet-50 in images per second, on one A100-80GB with mixed precision
# (NVIDIA, DeepLearningExamples, PyTorch 21.03).
IMAGENET_RATE = ("resnet50", 2470.0)
# Such small networks are limited by kernel launches, so scaling ImageNet's throughput would be too
# optimistic. Published: 20 to 30 minutes for 164 to 200 epochs of ResNet-20 on an 8 GB GPU
# (varun-suresh.github.io).
CIFAR_RATE = ("resnet20_cifar", 6000.0)
# Seconds per step of 16 images on 8 V100, Faster R-CNN with ResNet-101-C4 (detectron2's
# MODEL_ZOO.md).
DETECTION_STEP, DETECTION_GPUS = 0.619, 8
# Steps of 16 images. The paper does not state its schedule for VOC; this is the one of detectron2's
# PascalVOC-Detection/faster_rcnn_R_50_C4.yaml.
VOC_ITERATIONS = 18_000

ASSUMPTIONS = {
    "imagenet": "GPU-hours are an estimate: ResNet-50 at 2,470 images/s on one A100 (NVIDIA's "
    "DeepLearningExamples, mixed precision), other networks by their multiply-adds",
    "cifar10": "GPU-hours are an estimate: ResNet-20 at 6,000 images/s on one 8 GB GPU (published: "
    "20 to 30 minutes for 164 to 200 epochs), other networks by their multiply-adds",
    "coco": "GPU-hours are an estimate: Faster R-CNN with ResNet-101-C4 at 0.619 s per step of 16 "
    "images on 8 V100 (detectron2's model zoo), the paper's 320,000 steps",
    "voc": "GPU-hours are an estimate: the time per step of table 8 and 18,000 steps as in "
    "detectron2; the paper does not state the number of steps",
}


def training_hours(network: str, schedule: Schedule) -> float:
    """Returns the estimated GPU-hours of training a network on the paper's schedule.

    Args:
        network: A registered network, or "ensemble" for the six networks of table 5.
        schedule: The paper's schedule.

    Raises:
        ConfigError: there is no such network.
    """
    if network == "ensemble":
        return sum(training_hours(member, schedule) for member in ENSEMBLE)
    reference, rate = CIFAR_RATE if schedule.dataset == "cifar10" else IMAGENET_RATE
    share = total(network).multiply_adds / total(reference).multiply_adds
    return schedule.images * share / rate / 3600


def detection_hours(table: str) -> float:
    """Returns the estimated GPU-hours for the detector of "table7" or "table8"."""
    steps = {"table7": VOC_ITERATIONS, "table8": COCO_ITERATIONS}[table]
    return steps * DETECTION_STEP * DETECTION_GPUS / 3600


@lru_cache(maxsize=64)
def total(network: str, *, stride_in_1x1: bool = False) -> Part:
    """Returns the counts of a whole network, cached.

    All further blocks of a 6n + 2 network cost the same, so the deepest one is extrapolated instead
    of built.

    Raises:
        ConfigError: there is no such network.
    """
    deepest = re.fullmatch(r"(resnet|plain)1202_cifar", network)
    if deepest is None:
        return measure(network, stride_in_1x1=stride_in_1x1)[-1]
    small, larger = (measure(f"{deepest[1]}{depth}_cifar")[-1] for depth in (20, 32))
    blocks = (1202 - 20) // 6
    parameters, multiply_adds, activations = (
        getattr(small, key) + blocks * (getattr(larger, key) - getattr(small, key)) // 2
        for key in ("parameters", "multiply_adds", "activations")
    )
    return Part("total", parameters, multiply_adds, activations)
