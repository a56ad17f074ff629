"""The table of networks against the numbers in their names."""

import re

import pytest

from resnet_backbone.backbone import variants
from resnet_backbone.backbone.variants import BACKBONES, get_variant, list_backbones
from resnet_backbone.errors import ConfigError


def test_list():
    assert list_backbones("resnet???") == ["resnet101", "resnet152", "resnet18c", "resnet18d"] + [
        f"resnet{depth}{letter}" for depth in (34, 50) for letter in "cd"
    ]
    assert {"resnet50", "plain34", "resnet34_a", "resnet110_cifar"} < set(list_backbones())


@pytest.mark.parametrize("name", list_backbones())
def test_names_say_how_many_layers_there_are(name):
    """Those of the blocks, the stem's and the classifier (the paper's table 1)."""
    variant = get_variant(name)
    layers = sum(variant.counts) * (3 if variant.has_bottlenecks else 2) + 2
    depth = re.match(r"(?:plain|(?:se|wide_)?resne[tx]t?(?:v2_)?)(\d+)", name)
    assert layers == int(depth[1])


@pytest.mark.parametrize("name", list_backbones("*x*d"))
def test_names_of_resnext_say_groups_and_their_width(name):
    variant = get_variant(name)
    assert name.endswith(f"_{variant.groups}x{variant.width_per_group}d")


@pytest.mark.parametrize("name", list_backbones())
def test_a_network_differs_from_the_plain_one_only_by_what_its_name_says(name):
    variant = get_variant(name)
    assert variant.pre_activation == ("v2_" in name)
    assert variant.squeeze_excite == name.startswith("se")
    assert variant.avg_down == bool(re.fullmatch(r"resnet\d+d", name))
    assert (variant.stem == "deep") == bool(re.fullmatch(r"resnet\d+[cd]", name))
    assert (variant.stem == "cifar") == name.endswith("_cifar")
    assert (variant.shortcut == "none") == name.startswith("plain")
    option_a = name.endswith("_a") or bool(re.fullmatch(r"resnet\d+_cifar", name))
    assert (variant.shortcut == "A") == option_a
    assert (variant.shortcut == "C") == bool(re.fullmatch(r"resnet\d+_c", name))
    assert (variant.groups > 1) == name.startswith("resnext")
    assert (variant.width_per_group == 128) == name.startswith("wide_")
    assert (variant.width_per_group < 64) == name.startswith("resnext")
    cifar = name.endswith("_cifar")
    assert variant.widths == ((16, 32, 64) if cifar else (64, 128, 256, 512))


def test_an_unknown_network_is_a_configuration_error_with_the_close_names():
    with pytest.raises(ConfigError, match="^unknown backbone 'resnet5O'; did you mean resnet50"):
        get_variant("resnet5O")


def test_a_users_own_backbone_has_no_numbers(monkeypatch):
    monkeypatch.setattr(variants.BACKBONES, "_entries", {**variants.BACKBONES._entries})
    BACKBONES.register("mine")(lambda out_features: None)
    assert "mine" in list_backbones()
    with pytest.raises(ConfigError, match="^backbone 'mine' is not a ResNet of this package$"):
        get_variant("mine")
