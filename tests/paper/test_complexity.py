"""Counts against the paper's, torchvision's, and a sum written down."""

import pytest
import torchvision

from resnet_backbone.errors import ConfigError
from resnet_backbone.paper.complexity import measure


def total(name, **options):
    return measure(name, **options)[-1]


@pytest.mark.parametrize(
    ("name", "options", "paper"),
    [
        # Table 1 and section 3.3. The paper gives two digits, some of them cut: 3.86 is 3.8.
        ("resnet18", {}, 1.8),
        ("resnet34_a", {}, 3.6),
        ("plain34", {}, 3.6),
        ("resnet50", {"stride_in_1x1": True}, 3.8),
        ("resnet101", {"stride_in_1x1": True}, 7.6),
        ("resnet152", {"stride_in_1x1": True}, 11.3),
        ("vgg16", {}, 15.3),
        ("vgg19", {}, 19.6),
    ],
)
def test_the_papers_multiply_adds(name, options, paper):
    assert total(name, **options).multiply_adds / 1e9 == pytest.approx(paper, rel=0.02)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2"]
)
def test_torchvisions_own_counts(name):
    """torchvision publishes multiply-adds (three decimals) and parameters with its weights."""
    meta = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta
    found = total(name)
    assert found.parameters == meta["num_params"]
    # torchvision counts what aten calls; pooling and norms are less than 0.1 %.
    assert found.multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=2e-3)


def test_the_parts_of_a_small_network_by_hand():
    parts = {part.name: part for part in measure("resnet20_cifar")}
    assert list(parts) == ["stem", "res2", "res3", "res4", "head", "total"]
    assert parts["stem"].parameters == 3 * 9 * 16 + 2 * 16
    assert parts["stem"].multiply_adds == 32 * 32 * 16 * 27
    assert parts["res2"].multiply_adds == 6 * 32 * 32 * 16 * 16 * 9
    assert parts["res3"].multiply_adds == 16 * 16 * 32 * 9 * (16 + 5 * 32)
    assert parts["res3"].activations == 6 * 16 * 16 * 32
    assert parts["head"].parameters == parts["head"].multiply_adds + 10 == 650
    assert parts["total"].parameters == 269_722
    assert parts["res2"].memory == 4 * (parts["res2"].parameters + parts["res2"].activations)


def test_deformable_convolutions_count_once_with_their_offsets():
    plain = {part.name: part for part in measure("resnet18")}
    deformable = {part.name: part for part in measure("resnet18", deformable=("res5",))}
    # Four 3x3 convolutions, on 256 and three times 512 channels, with 27 more outputs each.
    more = 7 * 7 * 27 * 9 * (256 + 3 * 512)
    # The first one's offsets, too, are computed at the stride.
    assert deformable["res5"].multiply_adds - plain["res5"].multiply_adds == more
    assert deformable["res4"] == plain["res4"]


def test_output_stride_and_size():
    # Stages at four times the pixels do four times the work, but for the strided first block.
    assert total("resnet50", output_stride=16).multiply_adds > 1.3 * total("resnet50").multiply_adds
    assert total("resnet18", size=448).activations > 3.9 * total("resnet18").activations


@pytest.mark.parametrize("name", ["resnet51", "vgg20"])
def test_unknown_names(name):
    with pytest.raises(ConfigError, match=f"unknown (backbone|network) '{name}'"):
        measure(name)
