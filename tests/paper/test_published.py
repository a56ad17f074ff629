"""The numbers against each other, and against what the paper says of them in its text."""

import pytest

from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.paper import published
from resnet_backbone.paper.published import (
    CIFAR_SCHEDULE,
    ERROR_TABLES,
    IMAGENET_SCHEDULE,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_6,
)
from resnet_backbone.paper.published_detection import BEYOND, DETECTION_TABLES, TABLE_8
from resnet_backbone.paper.published_figures import FIGURE_7_NETWORKS, FIGURES


def value(table, label, metric="top1_error", statistic="one run"):
    found = [
        row.value
        for row in table.rows
        if (row.label, row.metric, row.statistic) == (label, metric, statistic)
    ]
    assert len(found) == 1, f"{label} {metric} {statistic} of {table.key}"
    return found[0]


def test_every_network_exists_and_every_value_is_a_percentage():
    known = {*list_backbones(), "ensemble"}
    for table in (*ERROR_TABLES, *DETECTION_TABLES, *BEYOND):
        rows = [(row.label, row.metric, row.statistic) for row in table.rows]
        assert len(rows) == len(set(rows)), table.key
        for row in table.rows:
            assert 3 < row.value < 100
            assert row.network is None or row.network in known
    for figure in FIGURES:
        assert set(figure.networks) <= known
        for better, _metric, worse in figure.claims:
            assert {better, worse} <= set(figure.networks)
    assert {*published.ENSEMBLE, *FIGURE_7_NETWORKS} <= known


def test_what_the_text_says_of_the_tables():
    # Section 4.1: the 34-layer ResNet reduces the top-1 error by 3.5 % against plain-34.
    gain = value(TABLE_2, "plain-34") - value(TABLE_2, "ResNet-34")
    assert gain == pytest.approx(3.5, abs=0.05)
    # Tables 2 and 3 share two networks.
    assert value(TABLE_3, "plain-34") == value(TABLE_2, "plain-34")
    assert value(TABLE_3, "ResNet-34 A") == value(TABLE_2, "ResNet-34")
    # C is slightly better than B, which is slightly better than A.
    options = [value(TABLE_3, f"ResNet-34 {option}") for option in "CBA"]
    assert options == sorted(options)
    # The 152-layer network has a single-model top-5 validation error of 4.49 %.
    assert value(TABLE_4, "ResNet-152", "top5_error") == 4.49
    # Section 4.3: 6.0 points of COCO's metric, a relative improvement of 28 %.
    vgg, resnet = value(TABLE_8, "VGG-16", "AP"), value(TABLE_8, "ResNet-101", "AP")
    assert resnet - vgg == pytest.approx(6.0)
    assert (resnet - vgg) / vgg == pytest.approx(0.28, abs=0.005)


def test_deeper_is_better_up_to_110_layers():
    depths = [value(TABLE_6, f"ResNet-{depth}") for depth in (20, 32, 44, 56)]
    depths.append(value(TABLE_6, "ResNet-110", statistic="best of 5 runs"))
    assert depths == sorted(depths, reverse=True)
    assert value(TABLE_6, "ResNet-1202") > depths[-1]


def test_schedules_in_epochs():
    # Known of both: about 120 epochs of ImageNet, about 164 of CIFAR-10.
    for schedule, epochs in ((IMAGENET_SCHEDULE, 120), (CIFAR_SCHEDULE, 164)):
        assert schedule.images / schedule.training_images == pytest.approx(epochs, rel=0.01)
