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

# He et al. 2016, table 1 and section 3.3, in multiply-adds of one image of 224 x 224.
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
# Table 6, whose first row is 0.27M.
PAPER_PARAMETERS = {
    "resnet20_cifar": 0.27e6,
    "resnet32_cifar": 0.46e6,
    "resnet44_cifar": 0.66e6,
    "resnet56_cifar": 0.85e6,
    "resnet110_cifar": 1.7e6,
    "resnet1202_cifar": 19.4e6,
}
BYTES = 4  # of a float32


@dataclass(frozen=True)
class Part:
    """One part of a network.

    Attributes:
        name: "stem", "res2" and so on, "head", or "total".
        parameters: How many numbers are trained.
        multiply_adds: Of convolutions and linear layers, for one image.
        activations: Numbers that convolutions and linear layers put out, for one image.
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
    """Returns the parts of a classifier, from the image on, and their total.

    Multiply-adds are what the paper calls FLOPs: convolutions and linear layers count, norms and
    additions do not (fvcore counts them likewise).

    Args:
        name: A registered network, or "vgg16" or "vgg19", which the paper compares with.
        size: Side of the square image; None: 224, or 32 for the networks of CIFAR.
        **options: See `create_backbone`.

    Raises:
        ConfigError: no such network, or an option that it does not have.
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
        raise ConfigError(f"unknown network {name!r}; of VGG, {' and '.join(builders)} are known")
    with torch.device("meta"):
        model = builders[name]()
    return model.to_empty(device="cpu")


def _part(key: str) -> str:
    """Returns the part that a module or parameter called `key` belongs to."""
    first = key.partition(".")[0]
    if first.startswith("layer"):
        return f"res{int(first.removeprefix('layer')) + 1}"
    return {"conv1": "stem", "bn1": "stem", "": "stem"}.get(first, "head")


def _count(model: nn.Module, images: torch.Tensor) -> tuple[Counter[str], Counter[str]]:
    """Returns multiply-adds and activations by part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, which fvcore builds on
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
        # What the network itself calls, the folded first convolution, is not in any child.
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
    """As many as the ordinary convolution of its shape has."""
    _, *taps = inputs[1].type().sizes()
    return Counter({"deform_conv2d": math.prod(outputs[0].type().sizes()) * math.prod(taps)})


def _deformable_activations(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    return Counter({"deform_conv2d": math.prod(outputs[0].type().sizes())})
