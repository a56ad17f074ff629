"""Parameters, multiply-adds, activations and memory of a network, stage by stage."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.classification.create import create_classifier
from resnet_backbone.errors import ConfigError

# He et al. 2016, table 1 and section 3.3, in multiply-adds for one image of 224 x 224.
PAPER_MULTIPLY_ADDS = {
    "resnet18": 1.8e9,
    "resnet34": 3.6e9,
    "plain34": 3.6e9,
    "resnet34_a": 3.6e9,
    "resnet50": 3.8e9,
    "resnet101": 7.6e9,
    "resnet152": 11.3e9,
    "vgg16": 15.3e9,
    "vgg19": 19.6e9,
}
# Table 6; 0.27M is its first ResNet.
PAPER_PARAMETERS = {
    "resnet20_cifar": 0.27e6,
    "resnet32_cifar": 0.46e6,
    "resnet44_cifar": 0.66e6,
    "resnet56_cifar": 0.85e6,
    "resnet110_cifar": 1.7e6,
    "resnet1202_cifar": 19.4e6,
}
BYTES = 4  # per float32


@dataclass(frozen=True)
class Part:
    """Counts for one part of a network.

    Attributes:
        name: "stem", "res2" and so on, "head", or "total".
        parameters: Number of trainable parameters.
        multiply_adds: Multiply-adds of convolutions and linear layers, for one image.
        activations: Number of output values of convolutions and linear layers, for one image.
    """

    name: str
    parameters: int
    multiply_adds: int
    activations: int

    @property
    def memory(self) -> int:
        """Bytes of the parameters and of one image's activations, in float32."""
        return BYTES * (self.parameters + self.activations)


def measure(name: str, *, size: int | None = None, **options: Any) -> list[Part]:  # noqa: ANN401
    """Returns the counts for each part of a classifier, from input to output, and their total.

    Multiply-adds are what the paper calls FLOPs. As in fvcore, convolutions and linear layers
    count, norms and additions do not.

    Args:
        name: A registered network, or "vgg16" or "vgg19", with which the paper compares.
        size: Side of the square image in pixels; None: 224, or 32 for the CIFAR networks.
        **options: Options of the network, see `create_backbone`.

    Raises:
        ConfigError: there is no such network, or it does not have such an option.
    """
    model = _vgg(name) if name.startswith("vgg") else _classifier(name, options)
    side = size or (32 if name.endswith("_cifar") else 224)
    channels = options.get("in_channels", 3)
    operations, activations = _count(model.eval(), torch.zeros(1, channels, side, side))
    parameters: Counter[str] = Counter()
    for key, parameter in model.named_parameters():
        parameters[_part(key)] += parameter.numel()
    names = dict.fromkeys(_part(key) for key, _ in model.named_parameters())
    parts = [Part(n, parameters[n], operations[n], activations[n]) for n in names]
    total = Part(
        "total",
        sum(part.parameters for part in parts),
        sum(part.multiply_adds for part in parts),
        sum(part.activations for part in parts),
    )
    return [*parts, total]


def _classifier(name: str, options: dict[str, Any]) -> nn.Module:
    get_variant(name)
    classes = 10 if name.endswith("_cifar") else 1000
    return create_classifier(name, num_classes=classes, **options)


def _vgg(name: str) -> nn.Module:
    import torchvision

    builders = {"vgg16": torchvision.models.vgg16, "vgg19": torchvision.models.vgg19}
    if name not in builders:
        raise ConfigError(f"unknown network {name!r}; known VGG networks: {', '.join(builders)}")
    with torch.device("meta"):
        model = builders[name]()
    return model.to_empty(device="cpu")


def _part(key: str) -> str:
    """Returns the part to which the module or parameter called `key` belongs."""
    first = key.partition(".")[0]
    if first.startswith("layer"):
        return f"res{int(first.removeprefix('layer')) + 1}"
    return {"conv1": "stem", "bn1": "stem", "": "stem"}.get(first, "head")


def _count(model: nn.Module, images: torch.Tensor) -> tuple[Counter[str], Counter[str]]:
    """Returns the multiply-adds and the activations of each part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch.jit, which fvcore uses
        from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
    totals = []
    for analysis, deformable in (
        (FlopCountAnalysis(model, images), _deformable_multiply_adds),
        (ActivationCountAnalysis(model, images), _deformable_activations),
    ):
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle("torchvision::deform_conv2d", deformable)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts = analysis.by_module_and_operator()
        total: Counter[str] = Counter()
        # Operations outside of any child module belong to the folded first convolution.
        children = {key: counts[key] for key, _ in model.named_children()}
        for key, operators in children.items():
            total[_part(key)] += _multiplying(operators)
        rest = _multiplying(counts[""]) - sum(_multiplying(o) for o in children.values())
        total["stem"] += rest
        totals.append(total)
    return totals[0], totals[1]


def _multiplying(operators: dict[str, float]) -> int:
    return int(sum(operators.get(kind, 0) for kind in ("conv", "linear", "deform_conv2d")))


def _deformable_multiply_adds(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Counts as many as for an ordinary convolution of the same shape."""
    _, *taps = inputs[1].type().sizes()
    return Counter({"deform_conv2d": math.prod(outputs[0].type().sizes()) * math.prod(taps)})


def _deformable_activations(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    return Counter({"deform_conv2d": math.prod(outputs[0].type().sizes())})
