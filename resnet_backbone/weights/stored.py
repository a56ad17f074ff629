"""Reads weights of any known source under our names, with what is known about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.run_layout import weights_of_run
from resnet_backbone.weights.card import WeightsCard, card_in
from resnet_backbone.weights.files import read_metadata, read_weight_file, state_dict_in
from resnet_backbone.weights.hub_config import refuse_other_resnets
from resnet_backbone.weights.layouts import DETECTORS, Converted, Kind, to_ours
from resnet_backbone.weights.presets import (
    is_torchvisions_detector,
    known_card,
    timm_file_card,
    torchvision_card,
    torchvision_weights,
)
from resnet_backbone.weights.recognise import networks_like
from resnet_backbone.weights.timm_names import refuse_lookalikes, refuse_other_timm_network

TORCHVISION = "torchvision/"
TIMM = "timm/"
BACKBONE = "backbone."  # prefix of the backbone in our detectors
_RES5 = "roi_heads.box_pooler.res5."
_DETECTRON2 = "detectron2://"


@dataclass(frozen=True)
class Stored:
    """Weights under our names.

    Attributes:
        source: A path, or "torchvision/NAME".
        tensors: The tensors by our names.
        layout: How the source names the tensors.
        kind: Whether they are a backbone's or a detector's.
        card: What is known about the weights; None if nothing is.
        text: The text stored beside the tensors of a safetensors file.
        ignored: Tensors that are not part of the network, such as a mean image, by the source's
            names.
    """

    source: str
    tensors: dict[str, Tensor]
    layout: str
    kind: Kind
    card: WeightsCard | None
    text: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, Tensor] = field(default_factory=dict)

    def backbone(self) -> dict[str, Tensor]:
        """Returns the tensors of the backbone by its own names; see `backbone_in`."""
        return backbone_in(self.tensors, self.kind)

    def as_backbone(self) -> Stored:
        """Returns the backbone alone, of a detector's weights."""
        return replace(self, kind="backbone", tensors=self.backbone(), ignored={})


def read_weights(source: str | Path, arch: str | None = None) -> Stored:
    """Reads a file, or downloads torchvision's weights.

    Args:
        source: A file for `read_state_dict`, the folder of a finished run, or "torchvision/NAME"
            with NAME one of torchvision's weights for the architecture ("IMAGENET1K_V1"), or a
            detector ("maskrcnn_resnet50_fpn"), downloaded once.
        arch: torchvision's name of the network; required for torchvision's weights.

    Raises:
        WeightsError: the weights cannot be read or downloaded, their names are of no known layout,
            or they are of a network that only looks like ours, see `refuse_lookalikes` and
            `refuse_other_resnets`.
    """
    source = _file_of_run(source)
    if source.startswith(TORCHVISION):
        tensors = _download(source, arch)
        tag = source.removeprefix(TORCHVISION)
        card = torchvision_card(arch or "", tag)
        if not is_torchvisions_detector(tag):
            return Stored(source, tensors, "torchvision", "backbone", card)
        found = to_ours(tensors, source)
        return Stored(source, found.tensors, found.layout, found.kind, card, ignored=found.ignored)
    _refuse_names_of_others(source)
    file = read_weight_file(source)
    converted = to_ours(file.tensors, source)
    refuse_lookalikes(source, file.notes, converted.layout, converted.tensors)
    refuse_other_resnets(source, converted.layout)
    return Stored(
        source,
        converted.tensors,
        converted.layout,
        converted.kind,
        card_in(file.text, source) or _card_of_family(source, converted),
        file.text,
        converted.ignored,
    )


def read_plain(source: str | Path, arch: str | None = None) -> Stored:
    """Reads a file under the names that it has: those of the module, or of our detector with it.

    Args:
        source: As for `read_weights`.
        arch: The module's name; for "timm/NAME", timm knows the card of its own files.

    Raises:
        WeightsError: the weights cannot be read or downloaded, or are of another network.
    """
    source = _file_of_run(source)
    if source.startswith(TORCHVISION):
        return read_weights(source, arch)
    _refuse_names_of_others(source)
    file = read_weight_file(source, strip=False)
    if arch is not None and arch.startswith(TIMM):
        refuse_other_timm_network(source, file.notes, arch)
    kind: Kind = "detector" if DETECTORS["ours"].fits(list(file.tensors)) else "backbone"
    card = card_in(file.text, source) or timm_file_card(source, arch or "", file.notes)
    layout = "ours" if kind == "detector" else "as stored"
    return Stored(source, file.tensors, layout, kind, card, file.text)


def find_card(source: str | Path, arch: str | None = None) -> WeightsCard | None:
    """Returns what is known about weights, without downloading them; None if nothing is.

    Raises:
        WeightsError: as `read_weights`.
    """
    source = _file_of_run(source)
    if source.startswith(TORCHVISION):
        return torchvision_card(arch or "", source.removeprefix(TORCHVISION))
    return stored_card(source) or read_weights(source, arch).card


def read_card(path: str | Path) -> WeightsCard:
    """Returns what is known about the weights in a file.

    Raises:
        WeightsError: the file cannot be read, or nothing is known about it.
    """
    card = find_card(path)
    if card is None:
        raise WeightsError(f"{path}: holds no card, and is not of a family that we know")
    return card


def stored_card(source: str | Path) -> WeightsCard | None:
    """Returns the card in a `.safetensors` file; None if there is none."""
    source = _file_of_run(source)
    if Path(source).suffix != ".safetensors":
        return None
    return card_in(read_metadata(source), source)


def _file_of_run(source: str | Path) -> str:
    """Returns the weights that a run's folder stands for; the source itself if it is none."""
    return str(weights_of_run(Path(source)) or source)


def _card_of_family(source: str, found: Converted) -> WeightsCard | None:
    """Returns what is known about a file of a published family."""
    backbone = backbone_in(found.tensors, found.kind)
    archs = networks_like(backbone)
    arch = archs[0] if len(archs) == 1 else None
    return known_card(source, found.layout, found.kind, arch, backbone)


def backbone_in(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Returns the tensors of the backbone by its own names, without a detector's prefix.

    C4 detectors have the backbone's last stage among their heads.
    """
    if kind == "backbone":
        return dict(tensors)
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(BACKBONE):
            found[name.removeprefix(BACKBONE)] = tensor
        elif name.startswith(_RES5):
            found[f"layer4.{name.removeprefix(_RES5)}"] = tensor
    return found


def _refuse_names_of_others(source: str) -> None:
    if source.startswith(_DETECTRON2):
        raise WeightsError(
            f"{source}: download the file, from"
            f" https://dl.fbaipublicfiles.com/detectron2/{source.removeprefix(_DETECTRON2)},"
            " and give its path"
        )
    if re.match(r"[a-z0-9-]+://", source):
        raise WeightsError(f"{source}: download the file and give its path")


def _download(spec: str, arch: str | None) -> dict[str, Tensor]:
    """Returns torchvision's weights, from torch.hub's cache or the network."""
    url = torchvision_weights(arch, spec.removeprefix(TORCHVISION)).url
    try:
        content = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:
        # Offline, a wrong hash, or a damaged file in the cache: each has its own exceptions.
        raise WeightsError(
            f"{spec}: cannot get {url} ({type(error).__name__}: {error}); give a file you have,"
            " or set model.backbone.weights=null, and model.weights, to start from random weights"
        ) from error
    return state_dict_in(content, spec)
