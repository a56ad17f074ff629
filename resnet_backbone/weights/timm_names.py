"""The network that a file says it is for, in timm's vocabulary, and which of ours that is.

timm has networks whose weights fit one of ours in every name and shape and that compute something
else: resnetaa50 blurs before it strides, BiT standardises its convolutions. Only the file's name or
an entry in it tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from resnet_backbone.backbone.variants import BACKBONES, Variant
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.hub_config import config_beside

# Entries of checkpoints and of config.json that hold a network's name (timm, PyTorch's ImageNet
# example, transformers' TimmBackbone, segmentation_models_pytorch).
NAME_KEYS = (
    *("arch", "architecture", "model", "model_name", "backbone", "backbone_name"),
    *("encoder", "encoder_name"),
)
_NAME = "name"  # below one of those: {"model": {"name": ...}}
_NOT_ITS_OWN = "teacher"  # of distillation, whose name may be beside the student's
# Before timm 0.9, the origin of the weights was part of the network's name.
_OLD_PREFIX = re.compile(r"^(rb|tv|ssl|swsl|ig|gluon)_")
_OLD_SUFFIXES = {"_v1b": "", "_v1c": "c", "_v1d": "d"}
_GROUP_NORM = {"resnet50_gn": "resnet50"}
# What file names call networks that our tables of names and shapes take for one of ours.
_LOOKALIKE = re.compile(
    r"(?<![a-z0-9])("
    r"(?:se)?resnex?t(?:aa|blur|rs)\d+[a-z]*(?:_\d+x\d+d)?"  # blurred; ResNet-RS
    r"|eca_?resnex?t(?:light|\d+[a-z]*(?:_\d+x\d+d)?)(?:_pruned)?"
    r"|seresnext\d+[a-z]*(?:_\d+x\d+d)?"
    r"|resnetv2_\d+x\d+_bit"  # weight standardisation, as the two below
    r"|bit[-_][a-z]?-?r\d+x\d+"
    r"|resnex?t\d+(?:_\d+x\d+d)?_gn_ws"
    r")(?![a-z0-9])",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w./-]+")
_PARENTS = 4  # of a file in Hugging Face's cache: models--timm--NAME/snapshots/HASH


@dataclass(frozen=True)
class NamedNetwork:
    """A network's name and where it was found.

    Attributes:
        name: As found, with timm's tag if there is one.
        place: For messages: "its entry 'args.model'", "its file name".
        remedy: What to do if the name is not that of the weights.
    """

    name: str
    place: str
    remedy: str


_RENAME = "rename it"
_WITHOUT_ENTRY = "save the tensors alone, without this entry"
_WITHOUT_CONFIG = "move the file away from this config.json"


def our_name(name: str) -> str | None:
    """Returns the network of ours that computes what timm's `name` does; None if there is none.

    Args:
        name: With or without timm's tag; names of before timm 0.9 are known.
    """
    base = _OLD_PREFIX.sub("", name.partition(".")[0])
    for old, new in _OLD_SUFFIXES.items():
        if base.endswith(old):
            base = base.removesuffix(old) + new
    base = _GROUP_NORM.get(base, base)
    known = base in BACKBONES and isinstance(BACKBONES.get(base), Variant)
    return base if known else None


def refuse_lookalikes(
    source: str, notes: Mapping[str, str], layout: str, tensors: Mapping[str, Tensor]
) -> None:
    """Raises WeightsError if a file is known to be for a network that none of ours computes.

    Args:
        source: The path.
        notes: Texts that the checkpoint stores beside its tensors.
        layout: How the file names its tensors, see `weights.layouts`.
        tensors: The tensors by our names.
    """
    for found in (*_stated(source, notes), *_in_path(source)):
        if our_name(found.name) is None and _is_a_network(found.name):
            raise WeightsError(
                f"{source}: {found.place} says {found.name}, which is none of our networks, even"
                " if it has the names and shapes of one; build it by the name"
                f" {_timm_backbone(found.name)!r} instead, or, if the weights are of another"
                f" network, {found.remedy}"
            )
    # timm's other pre-activation networks have batch normalisation.
    if layout == "timm" and not any(name.endswith("running_mean") for name in tensors):
        raise WeightsError(
            f"{source}: a pre-activation network of timm's without batch normalisation, such as BiT"
            " (weight standardisation), computes something else than our resnetv2; build it by its"
            " own name, such as 'timm/resnetv2_50x1_bit', instead"
        )


def refuse_other_timm_network(source: str, notes: Mapping[str, str], backbone: str) -> None:
    """Raises WeightsError if a file is known to be for another network than a "timm/NAME"."""
    base = backbone.removeprefix("timm/").partition(".")[0]
    for found in (*_stated(source, notes), *_in_path(source)):
        name = found.name.partition(".")[0]
        same = name == base or (our_name(name) is not None and our_name(name) == our_name(base))
        if not same and _is_a_network(name):
            raise WeightsError(
                f"{source}: {found.place} says {found.name}, expected {base}; build it by the name"
                f" {_timm_backbone(name)!r}, or, if the weights are of {base}, {found.remedy}"
            )


def timm_names_in(source: str, notes: Mapping[str, str]) -> Iterator[str]:
    """Yields the network's names that a file's entries and its config.json state."""
    yield from (found.name for found in _stated(source, notes))


def _stated(source: str, notes: Mapping[str, str]) -> Iterator[NamedNetwork]:
    for place, value in notes.items():
        for name in _names_in(place.split("."), value):
            yield NamedNetwork(name, f"its entry {place!r}", _WITHOUT_ENTRY)
    for key, value in _config_beside(Path(source)).items():
        place = f"{key!r} in the config.json beside it"
        yield NamedNetwork(_bare(value), place, _WITHOUT_CONFIG)


def _names_in(place: Sequence[str], value: str) -> list[str]:
    """Returns the names of networks in an entry.

    Whatever its key, the name of a look-alike is one; so is each in a configuration's text.
    """
    if any(_NOT_ITS_OWN in key for key in place):
        return []
    keys = place[:-1] if place[-1] == _NAME else place
    if keys and keys[-1] in NAME_KEYS:
        return [_bare(value)]
    words = _WORD.findall(value) if "\n" in value or value.startswith("{") else [value]
    names = dict.fromkeys(_bare(word) for word in words)
    return [name for name in names if _LOOKALIKE.fullmatch(name.partition(".")[0])]


def _bare(name: str) -> str:
    """Returns a name without what hubs and other libraries put before timm's."""
    return name.rpartition("/")[2].removeprefix("tu-")


def _config_beside(path: Path) -> dict[str, str]:
    """Returns what the config.json of a downloaded model says of its architecture, with the tag."""
    content = config_beside(path)
    pretrained = content.get("pretrained_cfg")
    tag = pretrained.get("tag") if isinstance(pretrained, dict) else None
    suffix = f".{tag}" if isinstance(tag, str) and tag else ""
    names = {key: content[key] for key in NAME_KEYS if isinstance(content.get(key), str)}
    return {key: name if "." in name else name + suffix for key, name in names.items()}


def _in_path(source: str) -> Iterator[NamedNetwork]:
    path = Path(source)
    if found := _LOOKALIKE.search(path.name):
        yield NamedNetwork(found[1], "its file name", _RENAME)
    for folder in path.parts[:-1][-_PARENTS:]:
        named = _LOOKALIKE.search(folder)
        downloaded = folder.startswith("models--")
        if named and (downloaded or folder.partition(".")[0].lower() == named[1].lower()):
            yield NamedNetwork(named[1], f"its folder {folder!r}", _RENAME)


def _is_a_network(name: str) -> bool:
    """Returns whether `name` is one of timm's, as far as can be told without timm."""
    if _LOOKALIKE.fullmatch(name.partition(".")[0]):
        return True
    try:
        from timm.models import is_model
    except ImportError:
        return False
    return is_model(name.partition(".")[0])


def _timm_backbone(name: str) -> str:
    """Returns the name under which timm's network is a backbone here."""
    base = name.partition(".")[0]
    bit = re.fullmatch(r"bit[-_][a-z]?-?r(\d+)x(\d+)", base, re.IGNORECASE)
    return f"timm/resnetv2_{bit[1]}x{bit[2]}_bit" if bit else f"timm/{base}"
