"""Users' own backbones, and what both kinds have in common; timm's have test_from_timm.py."""

import pytest
import torch
from torch import nn

from resnet_backbone.backbone import variants
from resnet_backbone.backbone.foreign import (
    build_foreign,
    freeze_foreign,
    is_foreign,
    size_divisor,
    weights_are_timms,
)
from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.resnet import Options
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError


@pytest.fixture
def register(monkeypatch):
    """`BACKBONES.register`, undone afterwards."""
    monkeypatch.setattr(variants.BACKBONES, "_entries", {**variants.BACKBONES._entries})
    return variants.BACKBONES.register


class Patches(nn.Module):
    """One map of patches, and the least that the interface asks for."""

    def __init__(self, out_features=("res4",), in_channels=3):
        super().__init__()
        self.out_features = out_features
        self.conv = nn.Conv2d(in_channels, 8, 16, stride=16)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return {"res4": self.bn(self.conv(x))}

    def feature_specs(self):
        return {"res4": FeatureSpec(8, 16)}


def test_what_is_foreign(register):
    register(Patches)
    assert is_foreign("Patches") and is_foreign("timm/anything")
    assert not is_foreign("resnet50") and not is_foreign("unknown")
    assert weights_are_timms("timm") and weights_are_timms("timm/a1_in1k")
    assert not any(weights_are_timms(w) for w in (None, "timm.pth", "torchvision/IMAGENET1K_V1"))


def test_a_registered_class_is_built(register):
    register(Patches)
    options = Options(in_channels=4, norm="FrozenBN")
    net = build_foreign("Patches", out_features=("res4",), options=options)
    assert isinstance(net, Patches) and isinstance(net.bn, FrozenBatchNorm2d)
    assert net(torch.zeros(1, 4, 32, 48))["res4"].shape == (1, 8, 2, 3)


def test_a_builder_gets_the_options_that_it_names(register):
    seen = {}

    @register("some")
    def build(out_features, norm, output_stride=32):
        seen.update(norm=norm, output_stride=output_stride)
        return Patches()

    @register("all")
    def build_all(out_features, **options):
        seen.update(options)
        return Patches()

    net = build_foreign("some", options=Options(norm="GN", output_stride=16))
    assert seen == {"norm": "GN", "output_stride": 16}
    assert isinstance(net.bn, nn.BatchNorm2d)  # the builder's own business: it takes the norm
    build_foreign("all", options=Options(deformable=("res5",)))
    assert seen == vars(Options(deformable=("res5",)))


def test_an_option_that_it_lacks_is_refused(register):
    register(Patches)
    with pytest.raises(ConfigError, match="^output_stride: got 16, but the builder of 'Patches'"):
        build_foreign("Patches", options=Options(output_stride=16))
    with pytest.raises(ConfigError, match="^norm: got 'GN', expected BN, FrozenBN or SyncBN"):
        build_foreign("Patches", options=Options(norm="GN"))
    with pytest.raises(ConfigError, match="^weights: 'timm' is for timm's backbones"):
        build_foreign("Patches", options=Options(), weights="timm")


def test_the_interface_is_checked(register):
    register("nothing")(lambda out_features: None)
    register("no_specs")(lambda out_features: nn.Identity())
    with pytest.raises(ConfigError, match=r"'nothing'.* returned NoneType, expected an nn.Module"):
        build_foreign("nothing", options=Options())
    with pytest.raises(ConfigError, match=r"returned Identity, expected .* feature_specs\(\)"):
        build_foreign("no_specs", options=Options())

    register(Patches)
    with pytest.raises(ConfigError, match="has res4, expected exactly the out_features res2, res3"):
        build_foreign("Patches", out_features=("res2", "res3"), options=Options())

    class Tuples(Patches):
        def feature_specs(self):
            return {"res4": (8, 16)}

    register(Tuples)
    with pytest.raises(ConfigError, match="expected a dict of FeatureSpec"):
        build_foreign("Tuples", options=Options())


def test_freezing_is_up_to_the_module():
    freeze_foreign("patches", Patches(), 0)
    with pytest.raises(ConfigError, match="'patches' has no method freeze"):
        freeze_foreign("patches", Patches(), 2)

    class Freezes(Patches):
        def freeze(self, freeze_at):
            self.frozen_at = freeze_at

    net = Freezes()
    freeze_foreign("freezes", net, 2)
    assert net.frozen_at == 2


def test_image_sizes_are_multiples_of_32_unless_the_network_says_otherwise():
    class Any(Patches):
        size_divisor = 1

    assert [size_divisor(net) for net in (Patches(), Any(), create_backbone("resnet18"))] == [
        32,
        1,
        1,
    ]
