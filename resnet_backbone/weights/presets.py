"""Cards of published weights, recognised by their source, file name or layout.

Sources of the facts: torchvision's weight enumerations; timm's pretrained configurations;
detectron2's MODEL_ZOO.md ("ImageNet Pretrained Models"); the recipes are mmdetection's
(configs/resnet_strikes_back; configs/faster_rcnn/faster-rcnn_r50-tnr-pre_fpn_1x_coco.py) and, for
the classic weights, detectron2's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from torch import Tensor

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import Recipe, WeightsCard
from resnet_backbone.weights.hub_config import transformers_stride
from resnet_backbone.weights.timm_names import our_name, timm_names_in

CLASSIC = Recipe(optimizer="sgd", lr=0.02, weight_decay=1e-4, source="detectron2")
STRIKES_BACK = Recipe(optimizer="adamw", lr=2e-4, weight_decay=0.05, source="mmdetection, RSB")
LONG = Recipe(optimizer="adamw", lr=1e-4, weight_decay=0.1, source="mmdetection, TNR")

IMAGENET: dict[str, Any] = {
    "stride_in_1x1": False,
    "channel_order": "RGB",
    "mean": (123.675, 116.28, 103.53),
    "std": (58.395, 57.12, 57.375),
}
TORCHVISION = WeightsCard(**IMAGENET)
MSRA = WeightsCard(
    stride_in_1x1=True,
    channel_order="BGR",
    mean=(103.53, 116.28, 123.675),
    std=(1.0, 1.0, 1.0),
    source="MSRA (He et al. 2016), as Detectron and detectron2 distribute it",
    recipe=CLASSIC,
)
# Detectron1's own training: MSRA's pixels, but the stride where torchvision has it.
FAIR_GN = MSRA.model_copy(update={"stride_in_1x1": False, "source": "FAIR, Detectron"})
FAIR_RESNEXT = FAIR_GN.model_copy(update={"std": (57.375, 57.12, 58.395)})

# OpenMMLab's copies of detectron2's Caffe2 files (mmdetection, docs/en/model_zoo.md).
_FROM_CAFFE2 = {
    "resnet50_msra-5891d200.pth": MSRA,
    "resnet101_msra-6cc46731.pth": MSRA,
    "resnet50_caffe-788b5fa3.pth": MSRA,
    "resnet101_caffe-3ad79236.pth": MSRA,
    "resnext101_32x8d-1516f1aa.pth": FAIR_RESNEXT,
}
# torchvision's first weights before 2021, with the same values under other hashes.
_OLD_HASHES = {
    "resnet18-5c106cde.pth": "resnet18-f37072fd.pth",
    "resnet34-333f7ec4.pth": "resnet34-b627a593.pth",
    "resnet50-19c8e357.pth": "resnet50-0676ba61.pth",
    "resnet101-5d3b4d8f.pth": "resnet101-63fe2227.pth",
    "resnet152-b121ed2d.pth": "resnet152-394f9c45.pth",
}
_ZOO_DETECTOR = re.compile(r"model_final_[0-9a-f]{6}\.pkl")
_HUB_FILE = re.compile(r"\w*resne\w+-[0-9a-f]{8}\.pth")
_TIMM_NAME = re.compile(r"([a-z]\w+)\.(\w+_in\w+)")
# mmpretrain's names of today and of before 2022, but not those of its CIFAR networks.
_MMPRETRAIN_FILE = re.compile(
    r"(?:se-|wide-)?resne(?:xt|t|tv1[cd])\d+[\w-]*_(?:in1k|imagenet)_.*\.pth"
)
_CIFAR_FILE = re.compile(r"resnet\d+-[0-9a-f]{8}\.th")
_TORCHVISION = "torchvision/"
_TIMM = "timm/"
# torchvision's detectors that are ours in every layer; it computes the norms of the first weights
# without an epsilon (torchvision/models/detection/mask_rcnn.py, `overwrite_eps`).
_TORCHVISION_DETECTORS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")


def known_card(
    source: str, layout: str, kind: str, arch: str | None, tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    """Returns the card of weights of a known family; None for other weights.

    Args:
        source: A path, or what `load_weights` takes besides.
        layout: See `weights.layouts`.
        kind: "backbone" or "detector".
        arch: The network's name, if it is known.
        tensors: The tensors by our names.
    """
    for family in (_torchvision, _timm, _caffe2, _detectron2, _openmmlab, _others):
        card = family(source, layout, kind, arch, tensors)
        if card is not None:
            return card.model_copy(update={"arch": arch, "layout": layout})
    return None


def without_weights(channel_order: str | None) -> WeightsCard:
    """Returns the card assumed without weights: torchvision's, in the stated channel order."""
    if channel_order != "BGR":
        return TORCHVISION
    turned = {"mean": IMAGENET["mean"][::-1], "std": IMAGENET["std"][::-1]}
    return TORCHVISION.model_copy(update={"channel_order": channel_order, **turned})


def torchvision_card(arch: str, tag: str) -> WeightsCard:
    """Returns the card of torchvision's weights called `tag`.

    Args:
        arch: The backbone's name.
        tag: One of its weights ("IMAGENET1K_V1"), or a detector ("maskrcnn_resnet50_fpn").

    Raises:
        WeightsError: torchvision has no such network or weights.
    """
    weights = torchvision_weights(arch, tag)
    if is_torchvisions_detector(tag):
        return _torchvision_detector_card(weights.url)
    transforms: Any = weights.transforms()
    return WeightsCard(
        arch=arch,
        layout="torchvision",
        stride_in_1x1=False,
        channel_order="RGB",
        pixel_scale=1,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
        source=weights.url,
        licence="BSD-3-Clause",
        top1=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        # V2, and the only weights of resnext101_64x4d, come from the recipe that resizes to 232.
        recipe=LONG if transforms.resize_size != [256] else CLASSIC,
    ).at_255()


def is_torchvisions_detector(tag: str) -> bool:
    """Returns whether "torchvision/TAG" is a detector, and not a backbone."""
    return tag in _TORCHVISION_DETECTORS


def _torchvision_detector_card(url: str) -> WeightsCard:
    return WeightsCard(
        **IMAGENET,
        arch="resnet50",
        layout="torchvision",
        norm_eps=0.0,
        source=url,
        licence="BSD-3-Clause",
        recipe=CLASSIC,
    )


def torchvision_weights(arch: str | None, tag: str) -> Any:  # noqa: ANN401
    """Returns torchvision's entry for weights; raises the errors of `torchvision_card`."""
    # torchvision takes seconds to import and is of no use to whoever loads a file of ours.
    from torchvision.models import get_model_weights

    if is_torchvisions_detector(tag):
        return get_model_weights(tag).COCO_V1  # type: ignore[attr-defined]
    spec = f"{_TORCHVISION}{tag}"
    try:
        known = get_model_weights(arch or "")
    except ValueError:
        raise WeightsError(f"{spec}: torchvision has no architecture {arch!r}") from None
    if tag not in known.__members__:
        names = [*known.__members__, *_TORCHVISION_DETECTORS]
        raise WeightsError(f"{spec}: no such weights for {arch}, expected one of {names}")
    return known[tag]


def _torchvision(
    source: str, layout: str, kind: str, arch: str | None, _tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    """Recognises the name under which torch.hub stores a file, which ends in its hash."""
    name = PurePath(source).name
    if layout == "torchvision" and kind == "detector":
        urls = (torchvision_weights(arch, tag).url for tag in _TORCHVISION_DETECTORS)
        return next((_torchvision_detector_card(u) for u in urls if u.endswith(f"/{name}")), None)
    if arch is None or kind != "backbone" or not _HUB_FILE.fullmatch(name):
        return None
    from torchvision.models import get_model_weights

    try:
        entries = get_model_weights(arch)
    except ValueError:
        return None
    name = _OLD_HASHES.get(name, name)
    tags = [entry.name for entry in entries if entry.url.endswith(f"/{name}")]
    return torchvision_card(arch, tags[0]) if tags else None


def _timm(
    source: str, layout: str, kind: str, arch: str | None, _tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    """Recognises timm's names ("resnet50.a1_in1k") in the path, as a folder or a file."""
    if kind != "backbone" or layout not in ("torchvision", "timm"):
        return None
    for found in _TIMM_NAME.finditer(source):  # of which some may be folders of the user's
        if our_name(found[0]) == arch and (card := timm_card(found[0])):
            return card
    if arch is not None and _HUB_FILE.fullmatch(name := PurePath(source).name):
        return _timm_release(arch, name)
    return None


def timm_file_card(source: str, arch: str, notes: Mapping[str, str]) -> WeightsCard | None:
    """Returns the card of one of timm's files for the backbone "timm/NAME"; None for other files.

    Args:
        source: The path.
        arch: The backbone's name.
        notes: Texts that the checkpoint stores beside its tensors.
    """
    if not arch.startswith(_TIMM):
        return None
    base = arch.removeprefix(_TIMM).partition(".")[0]
    names = [*timm_names_in(source, notes), *(found[0] for found in _TIMM_NAME.finditer(source))]
    for name in names:
        if name.partition(".")[0] == base and "." in name and (card := timm_card(name)):
            return card
    return _timm_release(base, PurePath(source).name)


def _timm_release(arch: str, name: str) -> WeightsCard | None:
    try:
        from timm.models import get_arch_pretrained_cfgs
    except ImportError:
        return None
    for model, entry in get_arch_pretrained_cfgs(arch).items():
        if str(entry.url or "").endswith(f"/{name}"):
            return timm_card(model)
    return None


def timm_card(name: str) -> WeightsCard | None:
    """Returns the card of timm's model with a tag; None if timm does not know it."""
    try:
        from timm.models import get_pretrained_cfg

        entry = get_pretrained_cfg(name)
    except (ImportError, RuntimeError):
        return None
    if entry is None:
        return None
    tag = name.partition(".")[2]
    return WeightsCard(
        stride_in_1x1=False,
        channel_order="RGB",
        pixel_scale=1,
        mean=entry.mean,
        std=entry.std,
        interpolation=entry.interpolation,
        source=f"timm/{name}",
        licence=entry.license,
        recipe=_timm_recipe(tag),
    ).at_255()


def _timm_recipe(tag: str) -> Recipe:
    if tag.startswith(("gluon", "tv_", "fb_")):
        return CLASSIC
    return LONG if tag.startswith("tv2") else STRIKES_BACK


def _caffe2(
    _source: str, layout: str, _kind: str, arch: str | None, tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    if layout != "caffe2":
        return None
    if not any(name.endswith("running_mean") for name in tensors):
        return FAIR_GN
    if arch in ("resnet50", "resnet101", "resnet152"):
        return MSRA
    return FAIR_RESNEXT if arch == "resnext101_32x8d" else None


def _detectron2(
    source: str, layout: str, kind: str, arch: str | None, _tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    """Recognises model zoo detectors by their file name, torchvision's R-50.pkl by its layout."""
    if layout != "detectron2":
        return None
    name = PurePath(source).name
    if kind == "detector" and _ZOO_DETECTOR.fullmatch(name):
        card = FAIR_RESNEXT if arch == "resnext101_32x8d" else MSRA
        return card.model_copy(update={"licence": "CC-BY-SA-3.0", "source": "detectron2"})
    if kind == "backbone" and re.fullmatch(r"R-\d+\.pkl", name):
        return WeightsCard(**IMAGENET, source="torchvision, by detectron2", recipe=CLASSIC)
    return None


def _openmmlab(
    source: str, layout: str, kind: str, _arch: str | None, _tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    name = PurePath(source).name
    if layout not in ("mmpretrain", "torchvision") or kind != "backbone":
        return None
    if name in _FROM_CAFFE2:
        return _FROM_CAFFE2[name]
    if _MMPRETRAIN_FILE.fullmatch(name):
        recipe = STRIKES_BACK if "-rsb-" in name or "_rsb-" in name else CLASSIC
        return WeightsCard(**IMAGENET, source="mmpretrain", licence="Apache-2.0", recipe=recipe)
    return None


def _others(
    source: str, layout: str, _kind: str, _arch: str | None, _tensors: Mapping[str, Tensor]
) -> WeightsCard | None:
    stride = transformers_stride(source, layout)
    if layout == "transformers" and re.search(r"microsoft.*resnet-\d+", source):
        facts = IMAGENET | {"stride_in_1x1": bool(stride)}
        return WeightsCard(
            **facts, source="microsoft/resnet", licence="Apache-2.0", recipe=STRIKES_BACK
        )
    if stride is not None:
        return WeightsCard(stride_in_1x1=stride, source="transformers, its config.json")
    if layout == "cifar" and _CIFAR_FILE.fullmatch(PurePath(source).name):
        return WeightsCard(**IMAGENET, source="akamaster/pytorch_resnet_cifar10")
    return None
