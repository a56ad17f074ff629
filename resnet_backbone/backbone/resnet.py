"""ResNet (He et al. 2016) as a feature extractor: images in, a dictionary of feature maps out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.backbone.blocks import Stage, init_weights
from resnet_backbone.backbone.norm import conv_norm, frozen, make_norm
from resnet_backbone.backbone.spec import FeatureSpec
from resnet_backbone.backbone.variants import Variant
from resnet_backbone.errors import ConfigError

STEM_CHANNELS = 64
WIDTHS = {"res2": 64, "res3": 128, "res4": 256, "res5": 512}  # of the 3x3 convolutions
LAYERS = {"res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}
FEATURES = ("stem", *LAYERS)


class ResNet(nn.Module):
    """The convolutional part of a ResNet, initialised by `blocks.init_weights`.

    Parameters are called as torchvision's (conv1, bn1, layer1 to layer4), features by the stages
    that the detection literature numbers: "stem" (after the max pooling), "res2" to "res5". Stages
    behind the last requested feature are not built.

    Args:
        name: What the network is called in the registry; for messages and for finding weights.
        variant: Kind and number of blocks.
        out_features: The features to return, in any order, at least one.
        norm: Kind of normalisation, see `make_norm`.
        stride_in_1x1: See `Bottleneck`.
        in_channels: Channels of the input.
        res5_dilation: 2 dilates res5 instead of striding it ("DC5"), 1 does not.

    Raises:
        ConfigError: an argument is none of the allowed values.
    """

    def __init__(
        self,
        name: str,
        variant: Variant,
        *,
        out_features: Sequence[str],
        norm: str,
        stride_in_1x1: bool = False,
        in_channels: int = 3,
        res5_dilation: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self.out_features = _checked_features(out_features)
        if res5_dilation not in (1, 2):
            raise ConfigError(f"res5_dilation: got {res5_dilation!r}, expected 1 or 2")

        self.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm, STEM_CHANNELS)
        self._specs = {"stem": FeatureSpec(STEM_CHANNELS, 4)}

        channels, total_stride = STEM_CHANNELS, 4
        last = FEATURES.index(self.out_features[-1])
        for feature, count in zip(FEATURES[1 : last + 1], variant.counts, strict=False):
            dilation = res5_dilation if feature == "res5" else 1
            stride = 1 if feature == "res2" or dilation > 1 else 2
            stage = Stage(
                variant.block,
                count,
                channels,
                WIDTHS[feature],
                stride=stride,
                dilation=dilation,
                norm=norm,
                stride_in_1x1=stride_in_1x1,
            )
            self.add_module(LAYERS[feature], stage)
            channels, total_stride = stage.out_channels, total_stride * stride
            self._specs[feature] = FeatureSpec(channels, total_stride)
        init_weights(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Computes the features of a batch.

        Memory format follows the weights: channels_last weights give channels_last features.

        Args:
            x: float[B, in_channels, H, W], normalised as the weights want it.

        Returns:
            `out_features` in ascending order, each float[B, channels, ceil(H / stride),
            ceil(W / stride)] with the numbers of `feature_specs`. What only frozen layers computed
            does not require gradients.
        """
        x = F.relu_(conv_norm(x, self.conv1, self.bn1))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        features = {"stem": x}
        for feature in list(self._specs)[1:]:
            x = features[feature] = self.get_submodule(LAYERS[feature])(x)
        return {name: features[name] for name in self.out_features}

    def feature_specs(self) -> dict[str, FeatureSpec]:
        """Returns channels and stride of each of `out_features`."""
        return {name: self._specs[name] for name in self.out_features}

    def freeze(self, freeze_at: int) -> None:
        """Makes the first stages constants, as detectron2's FREEZE_AT does.

        Their parameters stop requiring gradients and their batch normalisations are replaced by
        frozen ones, which training mode does not change. As nothing in that prefix requires a
        gradient, autograd keeps none of its activations. It cannot be undone.

        Args:
            freeze_at: 0 none, 1 the stem, 2 stem and res2, ... 5 everything.

        Raises:
            ConfigError: `freeze_at` is not within 0 to 5.
        """
        if freeze_at not in range(len(FEATURES) + 1):
            raise ConfigError(f"freeze_at: got {freeze_at!r}, expected 0 to {len(FEATURES)}")
        if freeze_at > 0:
            self.conv1.requires_grad_(False)
            self.bn1 = frozen(self.bn1)
        for feature in list(self._specs)[1:freeze_at]:
            frozen(self.get_submodule(LAYERS[feature]))


def _checked_features(names: Sequence[str]) -> tuple[str, ...]:
    """Returns `names` in ascending order; ConfigError unless all are features."""
    if isinstance(names, str) or not names or not set(names) <= set(FEATURES):
        raise ConfigError(
            f"out_features: got {names!r}, expected one or more of {', '.join(FEATURES)}"
        )
    return tuple(name for name in FEATURES if name in names)
