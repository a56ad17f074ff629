"""Compares our network with that of the framework the weights came from, on the same image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.layouts import from_ours
from resnet_backbone.weights.load import load_weights
from resnet_backbone.weights.stored import Stored
from resnet_backbone.weights.targets import TARGETS, facts_of

STAGES = ("res2", "res3", "res4", "res5")
SIZE = 224
LIMIT = 1e-3  # of the relative difference; float32 in another order of sums gives 1e-6 to 1e-5

Features = Mapping[str, Tensor]
Model = Callable[[Tensor], Features]


@dataclass(frozen=True)
class Proof:
    """The difference between two implementations of a network.

    Attributes:
        arch: The network's name in `list_backbones`.
        layout: The framework that ours was compared with.
        differences: For each stage, the largest absolute difference divided by the largest
            absolute value.
    """

    arch: str
    layout: str
    differences: dict[str, float]


def prove(stored: Stored, arch: str, *, stride_in_1x1: bool, layout: str) -> Proof | str:
    """Compares C2 to C5 of one random image between `layout`'s framework and our network.

    Args:
        stored: The weights, under our names.
        arch: The network's name, see `list_backbones`.
        stride_in_1x1: Whether bottlenecks have their stride in the 1x1 convolution.
        layout: The framework whose model to build.

    Returns:
        The result; or a text that says why there is none, since the framework is not installed or
        has no such network.

    Raises:
        WeightsError: the framework's network does not take the weights, or computes something else.
    """
    builder = _BUILDERS.get(layout)
    if builder is None:
        return f"layout {layout!r} has no framework to compare with"
    if len(get_variant(arch).counts) != len(STAGES):
        return f"{arch} has no C2 to C5"
    target = TARGETS["detectron2" if layout == "caffe2" else layout]
    stride_in_1x1 &= get_variant(arch).has_bottlenecks
    if arch not in target.networks:
        return f"{layout} has no {arch}"
    if stride_in_1x1 and target.stride is None:
        return f"{layout} has no {arch} that strides in the 1x1 convolution"
    facts = facts_of(stored, arch)
    if facts.group_norm or facts.deformed:
        return "networks with group norms or deformable convolutions are not compared"
    eps = facts.card.norm_eps
    net = create_backbone(arch, norm="BN", norm_eps=eps, stride_in_1x1=stride_in_1x1).eval()
    # A classifier of other classes than ImageNet's would not fit into the framework's model.
    trunk = {name: t for name, t in stored.backbone().items() if not name.startswith("fc.")}
    try:
        load_weights(net, stored)
        state = from_ours(trunk, "detectron2" if layout == "caffe2" else layout, "backbone")
    except WeightsError as error:
        return str(error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # old frameworks with a new torch
            theirs = builder(arch, state, stride_in_1x1, eps)
    except ImportError as error:
        return f"{error.name or layout} is not installed"
    if theirs is None:
        return f"this version of {layout} has no {arch}"
    return _compared(stored.source, arch, layout, (net, theirs))


def _compared(source: str, arch: str, layout: str, models: tuple[Model, Model]) -> Proof:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, SIZE, SIZE, generator=generator)
    with torch.no_grad():
        ours, theirs = (model(image) for model in models)
    differences = {stage: _difference(ours[stage], theirs[stage]) for stage in STAGES}
    if not all(difference <= LIMIT for difference in differences.values()):
        numbers = ", ".join(f"{stage} {value:.1e}" for stage, value in differences.items())
        raise WeightsError(
            f"{source}: {layout}'s own {arch} computes something else on these weights, by relative"
            f" differences of {numbers}, expected at most {LIMIT:g}; are --arch and --stride-in-1x1"
            " right?"
        )
    return Proof(arch, layout, differences)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    scale = float(theirs.abs().max()) or 1.0  # of networks that return zeros
    return float((ours - theirs).abs().max()) / scale


def _torchvision(
    arch: str, state: Mapping[str, Tensor], stride_in_1x1: bool, norm_eps: float
) -> Model:
    import torchvision
    from torchvision.models._utils import IntermediateLayerGetter

    model = torchvision.models.get_model(arch).eval()
    _fill(model, state, norm_eps)
    layers = {f"layer{index + 1}": stage for index, stage in enumerate(STAGES)}
    return IntermediateLayerGetter(model, layers)


def _timm(
    arch: str, state: Mapping[str, Tensor], stride_in_1x1: bool, norm_eps: float
) -> Model | None:
    import timm

    if not timm.is_model(arch):
        return None
    model = timm.create_model(arch).eval()
    _fill(model, state, norm_eps)
    forward = cast(Callable[..., list[Tensor]], model.forward_intermediates)

    def features(image: Tensor) -> Features:
        maps = forward(image, indices=4, intermediates_only=True)
        return dict(zip(STAGES, maps, strict=True))

    return features


def _detectron2(
    arch: str, state: Mapping[str, Tensor], stride_in_1x1: bool, norm_eps: float
) -> Model:
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import build_resnet_backbone

    variant = get_variant(arch)
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = variant.depth
    cfg.MODEL.RESNETS.NUM_GROUPS = variant.groups
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = variant.width_per_group
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = stride_in_1x1
    cfg.MODEL.RESNETS.OUT_FEATURES = list(STAGES)
    if not variant.has_bottlenecks:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    model = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    _fill(model, {name: tensor for name, tensor in state.items() if "linear" not in name}, norm_eps)
    return model


def _transformers(
    arch: str, state: Mapping[str, Tensor], stride_in_1x1: bool, norm_eps: float
) -> Model:
    from transformers import ResNetConfig, ResNetModel

    variant = get_variant(arch)
    basic = variant.block.expansion == 1
    config = ResNetConfig(
        depths=list(variant.counts),
        hidden_sizes=[variant.block.expansion * width for width in variant.widths],
        layer_type="basic" if basic else "bottleneck",
        downsample_in_bottleneck=stride_in_1x1,
    )
    model = ResNetModel(config).eval()
    own = {name.removeprefix("resnet."): tensor for name, tensor in state.items()}
    _fill(
        model, {name: tensor for name, tensor in own.items() if "classifier" not in name}, norm_eps
    )

    def features(image: Tensor) -> Features:
        states = model(image, output_hidden_states=True).hidden_states
        return dict(zip(STAGES, states[1:], strict=True))

    return features


_BUILDERS = {
    "torchvision": _torchvision,
    "timm": _timm,
    "detectron2": _detectron2,
    "caffe2": _detectron2,
    "transformers": _transformers,
}


def _fill(model: nn.Module, state: Mapping[str, Tensor], norm_eps: float) -> None:
    """Loads all tensors but classifiers and counters, and sets the epsilon of all norms.

    The last norm of timm's pre-activation networks counts as part of the classifier.
    """
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.eps = norm_eps  # type: ignore[assignment]
    missing, unexpected = model.load_state_dict(dict(state), strict=False)
    ignored = ("num_batches_tracked", "fc.weight", "fc.bias", "linear.weight", "linear.bias")
    heads = ("head.", "norm.")
    left = [n for n in (*missing, *unexpected) if not (n.endswith(ignored) or n.startswith(heads))]
    if left:
        raise WeightsError(f"the framework's own model does not match at {', '.join(left[:5])}")
