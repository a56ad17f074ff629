"""What figures claim against the numbers of the tables, where these have them."""

import pytest

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.paper.complexity import PAPER_MULTIPLY_ADDS
from resnet_backbone.paper.published import TABLE_2, TABLE_6
from resnet_backbone.paper.published_figures import (
    FIGURE_1,
    FIGURE_3_NETWORKS,
    FIGURE_4,
    FIGURE_6,
    FIGURE_7_CLAIMS,
    FIGURE_7_NETWORKS,
    FIGURES,
    PLAIN_34_OF_VGG_19,
    PLAIN_CIFAR,
    RESIDUAL_CIFAR,
)


def errors():
    """Our networks' test errors in the tables; of several statistics, the best."""
    found = {}
    for row in (*TABLE_2.rows, *TABLE_6.rows):
        if row.network is not None:
            found[row.network] = min(row.value, found.get(row.network, 100))
    return found


def test_claims_of_test_errors_hold_for_the_papers_own_numbers():
    known, checked = errors(), 0
    for figure in FIGURES:
        for lower, metric, higher in figure.claims:
            if metric == "test_error" and {lower, higher} <= known.keys():
                assert known[lower] < known[higher], (figure.key, lower, higher)
                checked += 1
    assert checked == 4  # figure 4's two, and two residual ones of figure 6


def test_plain_networks_degrade_and_residual_ones_do_not():
    """Sections 4.1 and 4.2: by both errors, the deeper plain network ends above the shallower."""
    for figure, plain in ((FIGURE_1, "_cifar"), (FIGURE_4, ""), (FIGURE_6, "_cifar")):
        for lower, metric, higher in figure.claims:
            shallow, deep = sorted((lower, higher), key=lambda name: sum(get_variant(name).counts))
            if lower.startswith("plain"):
                assert (lower, higher) == (shallow, deep) and lower.endswith(plain)
            elif higher.startswith("resnet"):
                assert (lower, higher) == (deep, shallow)
            assert metric in ("training_error", "test_error")


def test_figures_show_the_networks_that_their_claims_are_of():
    for figure in FIGURES:
        claimed = {name for lower, _, higher in figure.claims for name in (lower, higher)}
        assert claimed <= set(figure.networks)
        cifar = figure.schedule.dataset == "cifar10"
        assert all(name.endswith("_cifar") == cifar for name in figure.networks)
    assert {name for claim in FIGURE_7_CLAIMS for name in claim} <= set(FIGURE_7_NETWORKS)
    assert set(PLAIN_CIFAR) | set(RESIDUAL_CIFAR) < set(FIGURE_6.networks)


@pytest.mark.parametrize(("smaller", "larger"), FIGURE_7_CLAIMS)
def test_residual_networks_respond_less_and_deeper_ones_less_still(smaller, larger):
    """Section 4.2: with more layers, an individual layer modifies the signal less."""
    assert smaller.startswith("resnet")
    depths = [sum(get_variant(name).counts) for name in (smaller, larger)]
    if larger.startswith("plain"):
        assert depths[0] == depths[1]
    else:
        assert depths[0] > depths[1]


def test_plain_34_is_a_small_part_of_vgg_19():
    """Section 3.3: 3.6 billion multiply-adds, which is only 18 % of VGG-19's 19.6 billion."""
    assert set(FIGURE_3_NETWORKS) <= PAPER_MULTIPLY_ADDS.keys()
    share = 100 * PAPER_MULTIPLY_ADDS["plain34"] / PAPER_MULTIPLY_ADDS["vgg19"]
    assert pytest.approx(share, abs=0.5) == PLAIN_34_OF_VGG_19
