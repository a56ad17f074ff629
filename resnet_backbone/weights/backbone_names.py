"""How frameworks name the parameters of a ResNet; each table is read in both directions.

Sources: torchvision/models/resnet.py; timm/models/resnetv2.py (its other ResNets have torchvision's
names); detectron2/modeling/backbone/resnet.py and, for Caffe2, checkpoint/c2_model_loading.py;
mmpretrain/models/backbones/resnet.py and seresnet.py; mmdet/models/backbones/resnet.py;
transformers/models/resnet; the 6n+2 networks of akamaster/pytorch_resnet_cifar10 and
kuangliu/pytorch-cifar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from resnet_backbone.weights.name_rules import Rule, rules

GROUP_NORM = "gn."

_BLOCK = ("layer{s}.{b}.conv{k}.{x}", "layer{s}.{b}.bn{k}.{x}")
OURS = rules(
    ("conv1.{x}", "conv1.{x}"),
    ("conv1.{i}.{x}", "conv1.{i}.{x}"),
    ("bn1.{x}", "bn1.{x}"),
    ("layer{s}.{b}.conv{k}.{x}", _BLOCK[0]),
    ("layer{s}.{b}.conv{k}.offset.{x}", "layer{s}.{b}.conv{k}.offset.{x}"),
    ("layer{s}.{b}.bn{k}.{x}", _BLOCK[1]),
    ("layer{s}.{b}.downsample.{i}.{x}", "layer{s}.{b}.downsample.{i}.{x}"),
    ("layer{s}.{b}.se.fc{k}.{x}", "layer{s}.{b}.se.fc{k}.{x}"),
    ("norm.{x}", "norm.{x}"),
    ("fc.{x}", "fc.{x}"),
)
TIMM_V2 = rules(
    ("stem.conv.{x}", "conv1.{x}"),
    ("stages.{s-1}.blocks.{b}.conv{k}.{x}", _BLOCK[0]),
    ("stages.{s-1}.blocks.{b}.norm{k}.{x}", _BLOCK[1]),
    ("stages.{s-1}.blocks.{b}.downsample.conv.{x}", "layer{s}.{b}.downsample.0.{x}"),
    ("norm.{x}", "norm.{x}"),
    ("head.fc.{x}", "fc.{x}"),
)
DETECTRON2 = rules(
    ("stem.conv1.norm.{x}", "bn1.{x}"),
    ("stem.conv1.{x}", "conv1.{x}"),
    ("res{s+1}.{b}.shortcut.norm.{x}", "layer{s}.{b}.downsample.1.{x}"),
    ("res{s+1}.{b}.shortcut.{x}", "layer{s}.{b}.downsample.0.{x}"),
    ("res{s+1}.{b}.conv{k}.norm.{x}", _BLOCK[1]),
    ("res{s+1}.{b}.conv{k}_offset.{x}", "layer{s}.{b}.conv{k}.offset.{x}"),
    ("res{s+1}.{b}.conv{k}.{x}", _BLOCK[0]),
    ("linear.{x}", "fc.{x}"),
    ("stem.fc.{x}", "fc.{x}"),  # of tools/convert-torchvision-to-d2.py
)
# Both are read whichever is written: their stems have no name in common.
_MMPRETRAIN_STEM = (
    *((f"backbone.stem.{i}.conv.{{x}}", f"conv1.{3 * i}.{{x}}") for i in range(3)),
    *((f"backbone.stem.{i}.bn.{{x}}", f"conv1.{3 * i + 1}.{{x}}") for i in range(3)),
    *((f"backbone.stem.{i}.gn.{{x}}", f"conv1.{3 * i + 1}.{GROUP_NORM}{{x}}") for i in range(3)),
)
_MMDET_STEM = (
    ("backbone.stem.{i}.{x}", "conv1.{i}.{x}"),
    ("backbone.stem.{i}.{x}", f"conv1.{{i}}.{GROUP_NORM}{{x}}"),
)
_OPENMMLAB = (
    ("backbone.conv1.{x}", "conv1.{x}"),
    ("backbone.bn1.{x}", "bn1.{x}"),
    ("backbone.gn1.{x}", f"bn1.{GROUP_NORM}{{x}}"),
    ("backbone.layer{s}.{b}.conv{k}.conv_offset.{x}", "layer{s}.{b}.conv{k}.offset.{x}"),
    ("backbone.layer{s}.{b}.conv{k}.{x}", _BLOCK[0]),
    ("backbone.layer{s}.{b}.bn{k}.{x}", _BLOCK[1]),
    ("backbone.layer{s}.{b}.gn{k}.{x}", f"layer{{s}}.{{b}}.bn{{k}}.{GROUP_NORM}{{x}}"),
    ("backbone.layer{s}.{b}.downsample.{i}.{x}", "layer{s}.{b}.downsample.{i}.{x}"),
    ("backbone.layer{s}.{b}.se_layer.conv{k}.conv.{x}", "layer{s}.{b}.se.fc{k}.{x}"),
    ("head.fc.{x}", "fc.{x}"),
)
MMPRETRAIN = rules(*_MMPRETRAIN_STEM, *_MMDET_STEM, *_OPENMMLAB)
MMDET = rules(*_MMDET_STEM, *_MMPRETRAIN_STEM, *_OPENMMLAB)
TRANSFORMERS = rules(
    ("resnet.embedder.embedder.convolution.{x}", "conv1.{x}"),
    ("resnet.embedder.embedder.normalization.{x}", "bn1.{x}"),
    ("resnet.encoder.stages.{s-1}.layers.{b}.layer.{k-1}.convolution.{x}", _BLOCK[0]),
    ("resnet.encoder.stages.{s-1}.layers.{b}.layer.{k-1}.normalization.{x}", _BLOCK[1]),
    (
        "resnet.encoder.stages.{s-1}.layers.{b}.shortcut.convolution.{x}",
        "layer{s}.{b}.downsample.0.{x}",
    ),
    (
        "resnet.encoder.stages.{s-1}.layers.{b}.shortcut.normalization.{x}",
        "layer{s}.{b}.downsample.1.{x}",
    ),
    ("classifier.1.{x}", "fc.{x}"),
)
CIFAR = rules(
    ("layer{s}.{b}.shortcut.{i}.{x}", "layer{s}.{b}.downsample.{i}.{x}"),
    ("linear.{x}", "fc.{x}"),
    *((rule.theirs, rule.ours) for rule in OURS if rule.theirs.startswith(("layer", "conv", "bn"))),
)


def _caffe2() -> tuple[Rule, ...]:
    """Caffe2 separates by underscores, and norms are "bn" with _s, _b, _rm, _riv, or "gn".

    Group norms are marked, as only the others have statistics.
    """
    norms = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
    pairs = [
        ("conv1_w", "conv1.weight"),
        *((f"{c}_w", "fc.weight") for c in ("fc1000", "pred")),
        *((f"{c}_b", "fc.bias") for c in ("fc1000", "pred")),
    ]
    for suffix, name in norms.items():
        for stem in ("res_conv1_bn", "conv1_bn", "bn_conv1"):
            pairs.append((f"{stem}_{suffix}", f"bn1.{name}"))
        pairs.append((f"conv1_gn_{suffix}", f"bn1.{GROUP_NORM}{name}"))
        for kind, mark in (("bn", ""), ("gn", GROUP_NORM)):
            block = "res{s+1}_{b}_branch"
            norm = "layer{s}.{b}"
            pairs.append((f"{block}1_{kind}_{suffix}", f"{norm}.downsample.1.{mark}{name}"))
            pairs += [
                (f"{block}2{letter}_{kind}_{suffix}", f"{norm}.bn{k}.{mark}{name}")
                for k, letter in enumerate("abc", start=1)
            ]
    pairs.append(("res{s+1}_{b}_branch1_w", "layer{s}.{b}.downsample.0.weight"))
    pairs += [
        (f"res{{s+1}}_{{b}}_branch2{letter}_w", f"layer{{s}}.{{b}}.conv{k}.weight")
        for k, letter in enumerate("abc", start=1)
    ]
    return rules(*pairs)


CAFFE2 = _caffe2()


_DEEP = re.compile(r"(backbone\.)?conv1\.0\.weight")
_STEM_NORM = re.compile(r"^(backbone\.)?(?:bn1|conv1\.7)\.")
_NORM = re.compile(r"\b(bn\d|conv1\.[147])\.(?=[^.]+$)")
_FIRST_SHORTCUT = re.compile(r"(\blayer1\.0\.downsample)\.(\d)\.")


def to_mmdet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prepares our names for the tables of OpenMMLab.

    A deep stem is one sequence there, in which its last norm has the number 7. Group norms, told by
    the absence of statistics, are marked.
    """
    names = {name: name for name in tensors}
    if any(_DEEP.fullmatch(name) for name in tensors):
        names = {name: _STEM_NORM.sub(r"\1conv1.7.", new) for name, new in names.items()}
    if not any(name.endswith("running_mean") for name in tensors):
        names = {name: _NORM.sub(rf"\1.{GROUP_NORM}", new) for name, new in names.items()}
    return {names[name]: tensor for name, tensor in tensors.items()}


def to_mmpretrain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Does what `to_mmdet` does, and numbers the shortcut of a ResNet-D's first block from 0.

    mmpretrain has no average there, as there is nothing to average.
    """
    shift = -1 if _averages_in_shortcuts(tensors) else 0
    return _first_shortcut_moved(to_mmdet(tensors), shift)


def from_openmmlab(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undoes `to_mmdet` and `to_mmpretrain`."""
    plain = {
        _STEM_NORM.sub(r"\1bn1.", name.replace(f".{GROUP_NORM}", ".")): tensor
        for name, tensor in tensors.items()
    }
    numbered_from_0 = "layer1.0.downsample.0.weight" in {n.removeprefix("backbone.") for n in plain}
    shift = 1 if numbered_from_0 and _averages_in_shortcuts(plain) else 0
    return _first_shortcut_moved(plain, shift)


def _averages_in_shortcuts(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(".0.downsample.2.weight") for name in tensors)


def _first_shortcut_moved(tensors: Mapping[str, Tensor], shift: int) -> dict[str, Tensor]:
    return {
        _FIRST_SHORTCUT.sub(lambda m: f"{m[1]}.{int(m[2]) + shift}.", name): tensor
        for name, tensor in tensors.items()
    }
