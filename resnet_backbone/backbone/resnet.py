"""ResNet (He et al. 2016) as a feature extractor: images in, a dictionary of feature maps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from torch import Tensor, nn

from resnet_backbone.backbone.base import Backbone
from resnet_backbone.backbone.blocks import BlockStyle
from resnet_backbone.backbone.norm import NORM_EPS, conv_norm, frozen
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.backbone.stage import Stage, StageSpec, init_weights
from resnet_backbone.backbone.stem import stem_conv, stem_stride
from resnet_backbone.backbone.variants import Variant
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.arguments import refuse_unknown

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Options:
    """The options that apply to any network; `create_backbone` describes each of them."""

    norm: str = "BN"
    norm_eps: float = NORM_EPS
    stride_in_1x1: bool = False
    in_channels: int = 3
    output_stride: int = 32
    dilate_first: bool = True
    deformable: Sequence[str] = ()
    zero_init_residual: bool = False
    stochastic_depth: float = 0.0
    activation_checkpointing: bool = False


DEFAULTS = Options()
# Why properties of a `Variant` are no options, for `refuse_unknown`.
DECIDED_BY_NAME = {
    field.name: "the network's name decides it, see list_backbones()" for field in fields(Variant)
}


def options_from(stated: Mapping[str, Any], caller: str) -> Options:
    """Returns `Options` of arguments by name.

    Args:
        stated: The arguments; those that are left out have their default.
        caller: The function that they were given to, for messages.

    Raises:
        ConfigError: there is no such argument; the message names close ones.
    """
    refuse_unknown(stated, [field.name for field in fields(Options)], caller, DECIDED_BY_NAME)
    return Options(**stated)


class ResNet(Backbone):
    """The convolutional part of a ResNet, initialised by `stage.init_weights`.

    Parameters have torchvision's names (conv1, bn1, layer1 to layer4). Features have the stage
    names of the detection literature: "stem" (after the max pooling), "res2" to "res5" (to "res4"
    in the CIFAR networks). Stages after the last requested feature are not built. Networks with
    pre-activation return the sum at the end of a stage without a final norm, as timm does.

    Args:
        name: The network's name in the registry, used in messages and to find weights.
        variant: The network's depth, widths and kind of block.
        out_features: The features to return, in any order; None returns all but the stem.
        options: The options that apply to any network.

    Raises:
        ConfigError: an argument has a value that is not allowed.
    """

    activation_name = "relu"  # of the stem's activation, which is a module as in torchvision

    def __init__(
        self,
        name: str,
        variant: Variant,
        *,
        out_features: Sequence[str] | None = None,
        options: Options = DEFAULTS,
    ) -> None:
        super().__init__()
        stages = stage_names(variant)
        _check(variant, options)
        self.name = name
        self.variant = variant
        self.options = options
        self.out_features = _checked_features(out_features, stages)
        self.style = block_style(variant, options)

        self.conv1 = stem_conv(variant, options.in_channels, self.style.make_norm)
        self.bn1 = None if variant.pre_activation else self.style.make_norm(variant.widths[0])
        if self.bn1 is not None:
            self.add_module(self.activation_name, nn.ReLU(inplace=True))
        self.pooled = stem_stride(variant) > 1
        if self.pooled:
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self._specs = {"stem": FeatureSpec(variant.widths[0], stem_stride(variant))}
        self._layers: dict[str, str] = {}
        depth = ("stem", *stages).index(self.out_features[-1])
        for index, (spec, total_stride) in enumerate(stage_specs(variant, options)[:depth]):
            stage = Stage(
                variant.block,
                spec,
                self.style,
                activation_checkpointing=options.activation_checkpointing,
            )
            self._layers[stages[index]] = f"layer{index + 1}"
            self.add_module(f"layer{index + 1}", stage)
            self._specs[stages[index]] = FeatureSpec(stage.out_channels, total_stride)
        init_weights(self, zero_init_residual=options.zero_init_residual)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Computes the features of a batch.

        The memory format follows the weights: channels_last weights give channels_last features.

        Args:
            x: float[B, in_channels, H, W], normalised as the weights expect.

        Returns:
            The features `out_features` in ascending order, each float[B, channels, ceil(H /
            stride), ceil(W / stride)] as declared by `feature_specs`. Features computed by frozen
            layers only do not require gradients.
        """
        features = self._all_features(x)
        return {name: features[name] for name in self.out_features}

    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns the channels and stride of each of `out_features`."""
        return {name: self._specs[name] for name in self.out_features}

    def freeze(self, freeze_at: int) -> None:
        """Freezes the first stages, as detectron2's FREEZE_AT does.

        Their parameters no longer require gradients, and their batch normalisations are replaced by
        frozen ones, which training mode does not change. Autograd then stores no activations for
        these stages. Freezing cannot be undone.

        Args:
            freeze_at: 0 nothing, 1 the stem, 2 the stem and res2, ... 5 everything.

        Raises:
            ConfigError: `freeze_at` is not within 0 to 5.
        """
        if freeze_at not in range(6):
            raise ConfigError(f"freeze_at: got {freeze_at!r}, expected 0 to 5")
        if freeze_at > 0:
            self.conv1 = frozen(self.conv1)
            self.bn1 = None if self.bn1 is None else frozen(self.bn1)
        for layer in list(self._layers.values())[: max(0, freeze_at - 1)]:
            frozen(self.get_submodule(layer))

    def _all_features(self, x: Tensor) -> dict[str, Tensor]:
        x = self._stem(x)
        features = {"stem": x}
        for feature, layer in self._layers.items():
            x = features[feature] = self.get_submodule(layer)(x)
        return features

    def _stem(self, x: Tensor) -> Tensor:
        last = self.conv1
        if isinstance(last, nn.Sequential):
            *before, last = last
            for layer in before:
                x = layer(x)
        if self.bn1 is None:
            x = last(x)
        else:
            activation = self.get_submodule(self.activation_name)
            x = activation(conv_norm(x, cast(nn.Conv2d, last), self.bn1))
        return self.maxpool(x) if self.pooled else x


def stage_names(variant: Variant) -> tuple[str, ...]:
    """Returns the name of each stage: "res2", "res3" and so on."""
    return tuple(f"res{index + 2}" for index in range(len(variant.counts)))


def block_style(variant: Variant, options: Options) -> BlockStyle:
    """Returns what all blocks of the network have in common."""
    return BlockStyle(
        norm=options.norm,
        norm_eps=options.norm_eps,
        stride_in_1x1=options.stride_in_1x1,
        groups=variant.groups,
        width_per_group=variant.width_per_group,
        shortcut=variant.shortcut,
        avg_down=variant.avg_down,
        squeeze_excite=variant.squeeze_excite,
    )


def stage_specs(variant: Variant, options: Options) -> list[tuple[StageSpec, int]]:
    """Returns the specification of each stage with the stride of its feature map."""
    rates = iter(_drop_rates(sum(variant.counts), options.stochastic_depth))
    specs = []
    channels, total_stride, dilation = variant.widths[0], stem_stride(variant), 1
    rows = zip(stage_names(variant), variant.widths, variant.counts, strict=True)
    for index, (name, width, count) in enumerate(rows):
        stride, previous = (1 if index == 0 else 2), dilation
        if total_stride * stride > options.output_stride:
            stride, dilation = 1, dilation * stride
        total_stride *= stride
        spec = StageSpec(
            channels,
            width,
            stride,
            drop_rates=[next(rates) for _ in range(count)],
            dilation=dilation,
            first_dilation=dilation if options.dilate_first else previous,
            deformable=name in options.deformable,
        )
        specs.append((spec, total_stride))
        channels = width * variant.block.expansion
    return specs


def _drop_rates(count: int, last: float) -> list[float]:
    """Rates that rise linearly from 0 at the first block (Huang et al. 2016, section 3)."""
    return [last * index / max(1, count - 1) for index in range(count)]


def _check(variant: Variant, options: Options) -> None:
    if options.output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"output_stride: got {options.output_stride!r}, expected 8, 16 or 32")
    if options.in_channels < 1:
        raise ConfigError(f"in_channels: got {options.in_channels!r}, expected 1 or more")
    if not 0 <= options.stochastic_depth < 1:
        raise ConfigError(
            f"stochastic_depth: got {options.stochastic_depth!r}, expected at least 0 and below 1"
        )
    stages = stage_names(variant)
    if isinstance(options.deformable, str) or not set(options.deformable) <= set(stages):
        raise ConfigError(
            f"deformable: got {options.deformable!r}, expected a list of {', '.join(stages)}"
        )
    if options.zero_init_residual and (options.norm == "FrozenBN" or variant.shortcut == "none"):
        raise ConfigError(
            "zero_init_residual: F(x) would stay zero throughout training, because the network has "
            + ("no shortcuts" if variant.shortcut == "none" else "norm FrozenBN")
        )


def _checked_features(names: Sequence[str] | None, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Returns `names` in ascending order; ConfigError unless all are known features."""
    if names is None:
        return stages
    known = ("stem", *stages)
    if isinstance(names, str) or not names or not set(names) <= set(known):
        raise ConfigError(
            f"out_features: got {names!r}, expected one or more of {', '.join(known)}"
        )
    return tuple(name for name in known if name in names)
