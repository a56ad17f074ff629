"""What the frameworks' own networks can be, and what they must be told beside the weights.

Names and shapes of weights fit networks that compute something else: that stride elsewhere in a
bottleneck, with another epsilon, on other pixels. What a framework cannot be told is refused when
weights are written for it, and the rest is listed.

Sources: torchvision/models/resnet.py; timm/models/resnet.py and resnetv2.py;
detectron2/modeling/backbone/resnet.py; mmpretrain/models/backbones and mmdet/models/backbones,
resnet.py, seresnet.py and resnext.py; transformers/models/resnet/configuration_resnet.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.backbone.variants import DEPTHS, Variant, get_variant
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.class_layers import class_count
from resnet_backbone.weights.recognise import described, is_of, networks_like
from resnet_backbone.weights.stored import Stored

PLAIN = tuple(f"resnet{depth}" for depth in DEPTHS)
WIDER = ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")
WIDEST = ("wide_resnet50_2", "wide_resnet101_2")
DEEP_STEM = tuple(f"{name}{kind}" for name in PLAIN for kind in "cd")
SQUEEZED = tuple(f"se{name}" for name in PLAIN)
TIMM = (
    *(name for name in DEEP_STEM if name not in ("resnet18c", "resnet34c")),
    *SQUEEZED,
    *(f"resnetv2_{depth}" for depth in DEPTHS),
)


@dataclass(frozen=True)
class Facts:
    """What matters of weights to another framework.

    Attributes:
        arch: The network's name in `list_backbones`.
        variant: The network.
        kind: "backbone", or which detector: "fpn", "c4" or "dc5".
        group_norm: Whether its norms are group norms.
        deformed: The stages with deformable convolutions: some of 2 to 5.
        card: What else is known; a fact that nobody stated is None.
        classes: The detector's number of classes; None for a backbone.
        mask: Whether the detector has a mask head.
    """

    arch: str
    variant: Variant
    kind: str
    group_norm: bool
    deformed: tuple[int, ...]
    card: WeightsCard
    classes: int | None = None
    mask: bool = False

    @property
    def stride_in_1x1(self) -> bool | None:
        """Where bottlenecks stride; False for basic blocks, None where nobody said."""
        return self.card.stride_in_1x1 if self.variant.has_bottlenecks else False


Setting = Callable[[Facts], str]


@dataclass(frozen=True)
class Target:
    """A framework that weights are written for.

    Attributes:
        networks: Which of our networks it has.
        network: How to build it.
        pixels: How it is told their order, mean and deviation.
        stride: How it is told where bottlenecks stride; None: they do in the 3x3 convolution.
        norm_eps: How it is told another epsilon than 1e-5; None: it cannot be.
        group_norm: How it is told to have group norms; None: it has none.
        deformable: How it is told to deform the 3x3 convolutions of bottlenecks; None: it cannot.
        detectors: Which detectors it has.
        of_bottlenecks: Those among them that it has only on networks of bottlenecks.
        detector: How to build the detector.
    """

    networks: tuple[str, ...]
    network: Setting
    pixels: Setting
    stride: Setting | None = None
    norm_eps: Setting | None = None
    group_norm: Setting | None = None
    deformable: Setting | None = None
    detectors: tuple[str, ...] = ()
    of_bottlenecks: tuple[str, ...] = ()
    detector: Setting | None = None


def arch_of(stored: Stored) -> str:
    """Returns the name of the network that the weights belong to.

    Raises:
        WeightsError: they fit none of our networks, or more than one.
    """
    if stored.card is not None and stored.card.arch is not None:
        return stored.card.arch
    names = networks_like(stored.backbone())
    if len(names) != 1:
        raise WeightsError(
            f"{stored.source}: fits {' or '.join(names) or 'none of our networks'};"
            " say which it is by --arch"
        )
    return names[0]


def refuse_other_network(stored: Stored, arch: str) -> None:
    """Raises WeightsError if the weights' names and shapes are not those of the network."""
    backbone = stored.backbone()
    if not is_of(backbone, arch):
        raise WeightsError(f"{stored.source}: holds {described(backbone)}, not {arch}")


def facts_of(stored: Stored, arch: str) -> Facts:
    """Returns what matters of weights of that network to other frameworks."""
    backbone = stored.backbone()
    offsets = {int(name[5]) + 1 for name in backbone if ".offset." in name}
    return Facts(
        arch,
        get_variant(arch),
        _architecture(stored) if stored.kind == "detector" else "backbone",
        group_norm=not any(name.endswith("running_mean") for name in backbone),
        deformed=tuple(sorted(offsets)),
        card=(stored.card or WeightsCard()).at_255(),
        classes=class_count(stored.tensors) if stored.kind == "detector" else None,
        mask=any(".mask_head." in name for name in stored.tensors),
    )


def refuse_inexpressible(facts: Facts, layout: str, source: str) -> None:
    """Raises WeightsError where the framework has no network that computes what ours does."""
    reasons = _reasons(facts, layout)
    if not reasons:
        return
    able = [name for name in TARGETS if not _reasons(facts, name)]
    raise WeightsError(
        f"{source}: cannot be written for {layout}:"
        + "".join(f"\n  {reason}" for reason in reasons)
        + f"\nexpected one of {', '.join((*able, 'safetensors'))}"
    )


def settings_for(facts: Facts, layout: str) -> list[str]:
    """Returns what the framework must be told, as it is written there."""
    target = TARGETS[layout]
    lines = [target.network(facts)]
    if facts.classes is not None and target.detector is not None:
        lines.append(target.detector(facts))
    if facts.variant.has_bottlenecks:
        if facts.stride_in_1x1 is None:
            lines.append("stride_in_1x1 is not known: state it by --stride-in-1x1")
        elif target.stride is not None:
            lines.append(target.stride(facts))
    for wanted, setting in (
        (facts.group_norm, target.group_norm),
        (facts.card.norm_eps != NORM_EPS and not facts.group_norm, target.norm_eps),
        (bool(facts.deformed), target.deformable),
    ):
        if wanted and setting is not None:
            lines.append(setting(facts))
    if None in (facts.card.channel_order, facts.card.mean, facts.card.std):
        lines.append("the pixels are not known: state --channel-order, --mean and --std")
    else:
        lines.append(target.pixels(facts))
    return lines


def _architecture(stored: Stored) -> str:
    if any(name.startswith("neck.") for name in stored.tensors):
        return "fpn"
    return "c4" if any(".box_pooler.res5." in name for name in stored.tensors) else "dc5"


def _reasons(facts: Facts, layout: str) -> list[str]:
    """Returns why the framework cannot have these weights; nothing where it can."""
    target, reasons = TARGETS[layout], []
    if facts.kind != "backbone" and facts.kind not in target.detectors:
        reasons.append(f"it has no detector of architecture {facts.kind}")
    elif facts.kind in target.of_bottlenecks and not facts.variant.has_bottlenecks:
        reasons.append(f"it has no detector of architecture {facts.kind} on {facts.arch}")
    if facts.arch not in target.networks:
        reasons.append(f"it has no {facts.arch}")
    if facts.stride_in_1x1 and target.stride is None:
        reasons.append("stride_in_1x1 is true, but its bottlenecks stride in the 3x3 convolution")
    if facts.group_norm and target.group_norm is None:
        reasons.append("its norms are batch normalisations; these are group norms")
    elif not facts.group_norm and facts.card.norm_eps != NORM_EPS and target.norm_eps is None:
        reasons.append(f"norm_eps is {facts.card.norm_eps:g}, but its own is always {NORM_EPS:g}")
    if facts.deformed and (target.deformable is None or not facts.variant.has_bottlenecks):
        stages = ", ".join(f"res{stage}" for stage in facts.deformed)
        reasons.append(f"it has no deformable convolutions in {stages} of {facts.arch}")
    return reasons


def _own_name(facts: Facts) -> str:
    return f"its model {facts.arch!r}"


def _torchvision_detector(facts: Facts) -> str:
    kind = "MaskRCNN" if facts.mask else "FasterRCNN"
    return f"{kind} with resnet_fpn_backbone, num_classes={(facts.classes or 0) + 1}"


def _unit_pixels(facts: Facts) -> str:
    """For frameworks whose images are RGB, from 0 to 1."""
    card = facts.card
    mean, std = (
        ", ".join(f"{value / 255:.5g}" for value in row or ()) for row in (card.mean, card.std)
    )
    text = f"pixels from 0 to 1, {card.channel_order}: mean ({mean}), std ({std})"
    if card.channel_order == "RGB":
        return text
    return f"{text}; its own images are RGB, for which --fold RGB makes these weights"


def _norm_layer(facts: Facts) -> str:
    """Pre-activation networks of timm have norm and activation in one layer."""
    home, kind = ("timm.layers", "Act") if facts.variant.pre_activation else ("torch.nn", "")
    if facts.group_norm:
        return f"norm_layer=functools.partial({home}.GroupNorm{kind}, num_groups=32)"
    batch_norm = f"{home}.BatchNorm{kind}2d"
    return f"norm_layer=functools.partial({batch_norm}, eps={facts.card.norm_eps:g})"


def _detectron2_network(facts: Facts) -> str:
    keys = {"DEPTH": facts.variant.depth}
    if not facts.variant.has_bottlenecks:
        keys["RES2_OUT_CHANNELS"] = 64
    if facts.variant.groups > 1:
        keys["NUM_GROUPS"] = facts.variant.groups
    if facts.variant.width_per_group != 64:
        keys["WIDTH_PER_GROUP"] = facts.variant.width_per_group
    return " ".join(f"MODEL.RESNETS.{key} {value}" for key, value in keys.items())


def _detectron2_detector(facts: Facts) -> str:
    text = f"MODEL.ROI_HEADS.NUM_CLASSES {facts.classes} MODEL.MASK_ON {facts.mask}"
    return f"{text} MODEL.RESNETS.RES5_DILATION 2" if facts.kind == "dc5" else text


def _detectron2_pixels(facts: Facts) -> str:
    card = facts.card
    mean, std = (list(row or ()) for row in (card.mean, card.std))
    return f"INPUT.FORMAT {card.channel_order} MODEL.PIXEL_MEAN {mean} MODEL.PIXEL_STD {std}"


def _detectron2_deformable(facts: Facts) -> str:
    stages = [stage in facts.deformed for stage in range(2, 6)]
    return f"MODEL.RESNETS.DEFORM_ON_PER_STAGE {stages} MODEL.RESNETS.DEFORM_MODULATED True"


def _openmmlab_network(facts: Facts) -> str:
    kind, more = "SEResNet" if facts.variant.squeeze_excite else "ResNet", ""
    if facts.variant.stem == "deep":
        kind = f"ResNetV1{facts.arch[-1]}"
    if facts.variant.groups > 1:
        kind, width = "ResNeXt", facts.variant.width_per_group
        more = f", groups={facts.variant.groups}, width_per_group={width}"
    if facts.arch in WIDEST:
        more = ", base_channels=128, expansion=2"
    return f"type='{kind}', depth={facts.variant.depth}{more}"


def _mmdet_network(facts: Facts) -> str:
    """Says it in mmdetection's words where they are not mmpretrain's."""
    text = _openmmlab_network(facts).replace("width_per_group", "base_width")
    return text.replace("'ResNetV1c'", "'ResNet', deep_stem=True")


def _mmdet_detector(facts: Facts) -> str:
    heads = "bbox_head and mask_head" if facts.mask else "bbox_head"
    text = f"num_classes={facts.classes} of {heads}"
    if facts.kind == "dc5":
        return f"{text}; backbone: strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)"
    return text


def _style(facts: Facts) -> str:
    return f"style='{'caffe' if facts.stride_in_1x1 else 'pytorch'}'"


def _norm_cfg(facts: Facts) -> str:
    if facts.group_norm:
        return "norm_cfg=dict(type='GN', num_groups=32)"
    return f"norm_cfg=dict(type='BN', eps={facts.card.norm_eps:g})"


def _preprocessor(key: str) -> Setting:
    def pixels(facts: Facts) -> str:
        card = facts.card
        mean, std = (list(row or ()) for row in (card.mean, card.std))
        return f"data_preprocessor: mean={mean}, std={std}, {key}={card.channel_order == 'RGB'}"

    return pixels


def _dcn(facts: Facts) -> str:
    stages = tuple(stage in facts.deformed for stage in range(2, 6))
    return f"dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn={stages}"


TARGETS = {
    "torchvision": Target(
        (*PLAIN, *WIDER, *WIDEST),
        _own_name,
        _unit_pixels,
        norm_eps=_norm_layer,
        group_norm=_norm_layer,
        detectors=("fpn",),
        detector=_torchvision_detector,
    ),
    "timm": Target(
        (*PLAIN, *WIDER, *WIDEST, *TIMM),
        _own_name,
        _unit_pixels,
        norm_eps=_norm_layer,
        group_norm=_norm_layer,
    ),
    "detectron2": Target(
        (*PLAIN, *WIDER, *WIDEST),
        _detectron2_network,
        _detectron2_pixels,
        stride=lambda facts: f"MODEL.RESNETS.STRIDE_IN_1X1 {facts.stride_in_1x1}",
        group_norm=lambda _: "MODEL.RESNETS.NORM GN",
        deformable=_detectron2_deformable,
        detectors=("fpn", "c4", "dc5"),
        of_bottlenecks=("c4", "dc5"),
        detector=_detectron2_detector,
    ),
    "mmpretrain": Target(
        # Its squeezed networks have bottlenecks.
        (*PLAIN, *WIDER, *WIDEST, *DEEP_STEM, *SQUEEZED[2:]),
        _openmmlab_network,
        _preprocessor("to_rgb"),
        stride=_style,
        norm_eps=_norm_cfg,
        group_norm=_norm_cfg,
    ),
    "mmdet": Target(
        (*PLAIN, *WIDER, *DEEP_STEM),
        _mmdet_network,
        _preprocessor("bgr_to_rgb"),
        stride=_style,
        norm_eps=_norm_cfg,
        group_norm=_norm_cfg,
        deformable=_dcn,
        detectors=("fpn", "c4", "dc5"),
        detector=_mmdet_detector,
    ),
    "transformers": Target(
        PLAIN,
        lambda facts: (
            f"ResNetConfig: depths={list(facts.variant.counts)}, layer_type="
            f"{'bottleneck' if facts.variant.has_bottlenecks else 'basic'!r}, hidden_sizes="
            f"{[width * facts.variant.block.expansion for width in facts.variant.widths]}"
        ),
        _unit_pixels,
        stride=lambda facts: f"ResNetConfig: downsample_in_bottleneck={facts.stride_in_1x1}",
    ),
}
