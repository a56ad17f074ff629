"""The strength of each layer's response (He et al. 2016, section 4.2, figure 7)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.errors import ConfigError, DataError

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True)
class LayerResponse:
    """The response of one layer.

    Attributes:
        name: The 3x3 convolution's name in `named_modules`.
        std: Standard deviation over images, channels and pixels of the output of the norm that
            follows it, before the nonlinearity and the addition.
    """

    name: str
    std: float


@dataclass
class _Sums:
    """The sums from which a standard deviation is computed, for values that come in parts."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations from the mean

    def add(self, values: Tensor) -> None:
        """Adds one part (Chan, Golub and LeVeque 1983, "Algorithms for Computing ...")."""
        exact = values.detach().double()
        count, mean = exact.numel(), exact.mean().item()
        squares = (exact - mean).square().sum().item()
        total = self.count + count
        difference = mean - self.mean
        self.squares += squares + difference * difference * self.count * count / total
        self.mean += difference * count / total
        self.count = total

    @property
    def std(self) -> float:
        """The population standard deviation (divided by the count)."""
        return (self.squares / self.count) ** 0.5


@dataclass
class _Recorder:
    """Associates each 3x3 convolution with the norm that is applied to its output."""

    sums: dict[str, _Sums] = field(default_factory=dict)
    latest: tuple[str, Tensor] | None = None

    def convolved(self, name: str, output: Tensor) -> None:
        """Remembers the output of a 3x3 convolution."""
        self.latest = (name, output)

    def normalised(self, given: Tensor, output: Tensor) -> None:
        """Adds the output of a norm, if its input is the output of a 3x3 convolution."""
        if self.latest is not None and self.latest[1] is given:
            self.sums.setdefault(self.latest[0], _Sums()).add(output)
            self.latest = None


def layer_responses(network: nn.Module, batches: Iterable[Tensor]) -> list[LayerResponse]:
    """Measures the response of each 3x3 layer, in the order of computation.

    The network is copied and run in evaluation mode, so that responses do not depend on the
    batches. In the CIFAR networks the first convolution is a 3x3 layer too; the paper counts its
    layers in the same way.

    Args:
        network: The network; each of its 3x3 convolutions is followed by a norm.
        batches: float[B, 3, H, W] each, normalised as the network expects.

    Raises:
        DataError: there are no images.
        ConfigError: no norm is applied to the output of a 3x3 convolution; this is so if norms are
            frozen, since they are then folded into the convolution.
    """
    measured = copy.deepcopy(network).eval()
    recorder = _Recorder()
    _listen(measured, recorder)
    images = 0
    with torch.no_grad():
        for batch in batches:
            images += len(batch)
            measured(batch)
    if images == 0:
        raise DataError("layer responses: got no images, expected at least one")
    if not recorder.sums:
        raise ConfigError(
            "layer responses: found no norm after a 3x3 convolution; build the network with norm "
            "BN, SyncBN or GN"
        )
    return [LayerResponse(name, sums.std) for name, sums in recorder.sums.items()]


def _listen(network: nn.Module, recorder: _Recorder) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: recorder.convolved(name, output)
            )
        elif isinstance(module, _BATCH_NORMS):
            module.register_forward_hook(
                lambda _module, inputs, output: recorder.normalised(inputs[0], output)
            )
