"""Which framework named the tensors of a file, and how they come to our names and back."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.text import count_of, listing
from resnet_backbone.weights import backbone_names as backbones
from resnet_backbone.weights import detector_names as detectors
from resnet_backbone.weights.name_rules import Rule, renamed_from_ours, renamed_to_ours
from resnet_backbone.weights.trunks import (
    anchors_in,
    chosen_prefix,
    dotted_prefixes,
    is_follower,
    split_below,
    with_stage_names,
)

logger = logging.getLogger(__name__)

Kind = Literal["backbone", "detector"]
Tensors = Mapping[str, Tensor]

# Caffe2's files fold the statistics into the affine parameters. This variance makes the folded norm
# exact, as eps comes on top (detectron2/layers/batch_norm.py, FrozenBatchNorm2d).
FOLDED_VARIANCE = 1 - NORM_EPS
# Of detectron2's files: what it computes anyway.
_COMPUTED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.")


def _unchanged(tensors: Tensors) -> dict[str, Tensor]:
    return dict(tensors)


@dataclass(frozen=True)
class Layout:
    """One framework's names.

    Attributes:
        mark: Pattern of a name that tells the layout; the first layout that has one holds.
        table: Its names.
        read_also: Names that are read but not written.
        writable: Whether files of it can be written.
        after: What to do to tensors that have come to our names.
        before: What to do to tensors that are about to leave them.
        prepare: What to do to names, where they may lack a prefix.
    """

    mark: str
    table: Sequence[Rule]
    read_also: Sequence[Rule] = ()
    writable: bool = True
    after: Callable[[Tensors], dict[str, Tensor]] = _unchanged
    before: Callable[[Tensors], dict[str, Tensor]] = _unchanged
    prepare: Callable[[str], str] = str

    @property
    def reading(self) -> Sequence[Rule]:
        """The names that are read."""
        return (*self.table, *self.read_also)

    def fits(self, names: Sequence[str]) -> bool:
        """Returns whether some of the names occur in this layout only."""
        return any(re.search(self.mark, name) for name in names)

    def knows(self, name: str) -> bool:
        """Returns whether the layout has a place for a name; our own has one for any backbone."""
        if not self.table:
            return name.startswith("backbone.")
        return any(rule.to_ours(self.prepare(name)) is not None for rule in self.reading)


@dataclass(frozen=True)
class Converted:
    """Weights in our names.

    Attributes:
        layout: How the source named them: a key of `BACKBONES` or `DETECTORS`.
        kind: What they are weights of.
        tensors: By our names; what has none keeps its own.
        ignored: Of the file's own names: what means nothing to a network, as anchors, which are
            computed.
    """

    layout: str
    kind: Kind
    tensors: dict[str, Tensor]
    ignored: dict[str, Tensor] = field(default_factory=dict)


def to_ours(state: Tensors, source: str) -> Converted:
    """Renames weights to our names.

    The network may be below a prefix and beside other parts, as in a detector of another design: it
    is found by its first block, and the other parts are ignored.

    Args:
        state: A file's tensors, without wrappers.
        source: What to call the file in errors.

    Raises:
        WeightsError: the names are of no layout that we know (the message says which is closest);
            or the file holds several networks.
    """
    computed = {name: tensor for name, tensor in state.items() if is_computed(name)}
    rest = with_stage_names({n: tensor for n, tensor in state.items() if n not in computed})
    anchors = anchors_in(rest)
    found = _fitting(rest, anchors.values(), _KINDS)
    if found is not None:
        followers = _followers(anchors, source)
        leaders = {n: tensor for n, tensor in rest.items() if not n.startswith(followers)}
        return _converted(leaders, found, computed, source)
    if anchors:
        below, others, found = _network_below(rest, chosen_prefix(anchors, source), source)
        return _converted(below, found, computed | others, source)
    raise WeightsError(f"{source}: its names are of no layout that we know; {_closest(rest)}")


def _fitting(state: Tensors, anchors: Iterable[str], kinds: Kinds) -> tuple[Kind, str] | None:
    """Returns the first layout whose mark is among the names, and that knows the first block."""
    anchors = list(anchors)
    for kind, layouts in kinds:
        for name, layout in layouts.items():
            prepared = [layout.prepare(key) for key in state]
            if layout.fits(prepared) and (not anchors or any(map(layout.knows, anchors))):
                return kind, name
    return None


def _followers(prefixes: Iterable[str], source: str) -> tuple[str, ...]:
    """Returns the prefixes of averages, and says that these are not used."""
    found = tuple(prefix for prefix in prefixes if is_follower(prefix))
    if found:
        logger.warning("%s: the averaged network below %s is not used", source, listing(found))
    return found


def _network_below(
    state: Tensors, prefix: str, source: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[Kind, str]]:
    """Returns the tensors of the network at `prefix`, the others, and the layout.

    If a whole detector is below a shorter prefix, it is taken rather than its backbone.
    """
    candidates = [(shorter, _KINDS[:1]) for shorter in dotted_prefixes(prefix)]
    for shorter, kinds in (*candidates, (prefix, _KINDS[1:])):
        below, others = split_below(state, shorter)
        found = _fitting(below, anchors_in(below).values(), kinds)
        if found is not None:
            if others:
                logger.warning(
                    "%s: took the %s of %d tensors below %r; %d others are not used: %s",
                    *(source, found[0], len(below), shorter, len(others), listing(others)),
                )
            return below, others, found
    raise WeightsError(f"{source}: its names are of no layout that we know; {_closest(state)}")


def _converted(state: Tensors, found: tuple[Kind, str], ignored: Tensors, source: str) -> Converted:
    kind, name = found
    layout = dict(_KINDS)[kind][name]
    prepared = {layout.prepare(key): tensor for key, tensor in state.items()}
    known, others = renamed_to_ours(prepared, layout.reading)
    zeros = _zero_biases(prepared, others, source)
    own = layout.after(known) | {key: prepared[key] for key in others if key not in zeros}
    return Converted(name.partition("-")[0], kind, own, {**ignored, **zeros})


def from_ours(tensors: Tensors, layout: str, kind: Kind = "backbone") -> dict[str, Tensor]:
    """Returns weights under the names of another layout.

    Args:
        tensors: In our names.
        layout: A key of `BACKBONES` or `DETECTORS`, or "ours".
        kind: What they are weights of.

    Raises:
        WeightsError: there is no such direction, or the layout has no name for some of them.
    """
    if layout == "ours":
        renamed, nameless = dict(tensors), unknown_names(tensors, kind)
    else:
        found = _writer(tensors, layout, kind)
        renamed, nameless = renamed_from_ours(found.before(tensors), found.table)
    if nameless:
        raise WeightsError(
            f"layout {layout!r} has no name for {count_of(len(nameless), 'tensor')}: "
            f"{listing(nameless)}"
        )
    return renamed


def unknown_names(tensors: Tensors, kind: Kind) -> tuple[str, ...]:
    """Returns the names that none of our networks of that kind has."""
    table = detectors.OURS_WHOLE if kind == "detector" else backbones.OURS
    return renamed_from_ours(tensors, table)[1]


def is_computed(name: str) -> bool:
    """Returns whether a name of theirs is of what detectron2 computes anyway."""
    return name.startswith(_COMPUTED)


def _writer(tensors: Tensors, layout: str, kind: Kind) -> Layout:
    layouts = DETECTORS if kind == "detector" else BACKBONES
    if kind == "detector" and layout == "detectron2" and not any("neck." in n for n in tensors):
        layout = "detectron2-c4"
    if kind == "backbone" and layout == "timm" and "bn1.weight" in tensors:
        layout = "torchvision"  # timm's other ResNets have its names
    if layout not in layouts or not layouts[layout].writable:
        known = sorted({n.partition("-")[0] for n, found in layouts.items() if found.writable})
        raise WeightsError(
            f"a {kind} cannot be written in layout {layout!r}, expected one of {', '.join(known)}"
        )
    return layouts[layout]


def _zero_biases(state: Tensors, others: Sequence[str], source: str) -> dict[str, Tensor]:
    """Caffe2's convolutions have biases, all zero as norms follow; others would be lost."""
    biases = {n: state[n] for n in others if re.fullmatch(r"(conv1|res\d_\d+_branch\w+)_b", n)}
    for name, bias in biases.items():
        if bool(bias.any()):
            raise WeightsError(f"{source}: {name} is a convolution's bias that is not zero")
    return biases


def _closest(state: Tensors) -> str:
    """Returns which layout knows most of the names, and some that it does not."""
    unknown = {}
    for name, layout in (DETECTORS | BACKBONES).items():
        prepared = {layout.prepare(key): tensor for key, tensor in state.items()}
        _, unknown[name.partition("-")[0]] = renamed_to_ours(prepared, layout.reading)
    best = min(unknown, key=lambda name: len(unknown[name]))
    known = len(state) - len(unknown[best])
    if known == 0:
        return f"it begins with {listing(list(state))}"
    return f"closest is {best!r}, which knows {known} and does not know {listing(unknown[best])}"


def _flat_classifier(tensors: Tensors) -> dict[str, Tensor]:
    """Timm's resnetv2 classifies by a 1x1 convolution."""
    flat = dict(tensors)
    if "fc.weight" in flat:
        flat["fc.weight"] = flat["fc.weight"].flatten(1)
    return flat


def _convolutional_classifier(tensors: Tensors) -> dict[str, Tensor]:
    convolutional = dict(tensors)
    if "fc.weight" in convolutional:
        convolutional["fc.weight"] = convolutional["fc.weight"][:, :, None, None]
    return convolutional


def _with_statistics(tensors: Tensors) -> dict[str, Tensor]:
    """Adds what Caffe2's files folded away; group norms, where conv1 has one, have none."""
    complete = {name.replace(backbones.GROUP_NORM, ""): t for name, t in tensors.items()}
    for name, tensor in tensors.items():
        if re.search(r"(\bbn\d|downsample\.1)\.weight$", name):
            prefix = name.removesuffix("weight")
            complete.setdefault(f"{prefix}running_mean", torch.zeros_like(tensor))
            complete.setdefault(f"{prefix}running_var", torch.full_like(tensor, FOLDED_VARIANCE))
    return complete


def _caffe2_detector(tensors: Tensors) -> dict[str, Tensor]:
    return detectors.caffe2_c4(detectors.background_last(_with_statistics(tensors)))


def _torchvision_detector(tensors: Tensors) -> dict[str, Tensor]:
    return detectors.background_last(detectors.without_coco_gaps(tensors))


def _nested(name: str) -> str:
    """Undoes the names of timm's `features_only`, which has the children of stem and stages."""
    return re.sub(r"^(stages|stem)_(?=[^.]+\.)", r"\1.", name)


def _with_resnet(name: str) -> str:
    return f"resnet.{name}" if name.startswith(("embedder.", "encoder.")) else name


def _with_backbone(name: str) -> str:
    return f"backbone.{name}" if re.match(r"(stem\.\d|conv1|bn1|gn1|layer\d)\.", name) else name


# The order matters: the first mark that is found holds.
BACKBONES: dict[str, Layout] = {
    "detectron2": Layout(r"^stem\.conv1\.|^res[2-5]\.\d+\.", backbones.DETECTRON2),
    "caffe2": Layout(r"_branch2a_w$", backbones.CAFFE2, writable=False, after=_with_statistics),
    "transformers": Layout(
        r"^resnet\.embedder\.embedder\.", backbones.TRANSFORMERS, prepare=_with_resnet
    ),
    "timm": Layout(
        r"^stages\.\d\.blocks\.",
        backbones.TIMM_V2,
        after=_flat_classifier,
        before=_convolutional_classifier,
        prepare=_nested,
    ),
    "mmpretrain-bare": Layout(
        r"\.stem\.\d\.|\.conv_offset\.|\.se_layer\.|\.gn\d\.",
        backbones.MMPRETRAIN,
        after=backbones.from_openmmlab,
        before=backbones.to_mmpretrain,
        prepare=_with_backbone,
    ),
    "mmpretrain": Layout(
        r"^backbone\.layer\d\.",
        backbones.MMPRETRAIN,
        after=backbones.from_openmmlab,
        before=backbones.to_mmpretrain,
    ),
    # Never told from mmpretrain's, whose table reads its names too.
    "mmdet": Layout(
        r"^backbone\.layer\d\.",
        backbones.MMDET,
        after=backbones.from_openmmlab,
        before=backbones.to_mmdet,
    ),
    "cifar": Layout(r"^linear\.|^layer\d\.\d+\.shortcut\.", backbones.CIFAR),
    "torchvision": Layout(r"^layer\d\.\d+\.|^conv1\.", backbones.OURS),
}
DETECTORS: dict[str, Layout] = {
    "detectron2": Layout(r"^backbone\.bottom_up\.", detectors.DETECTRON2_FPN, detectors.PLUGIN_FPN),
    "detectron2-c4": Layout(
        r"^proposal_generator\.", detectors.DETECTRON2_PLAIN, detectors.PLUGIN_PLAIN
    ),
    "caffe2": Layout(
        r"^conv_rpn_|^rpn_cls_logits_",
        detectors.CAFFE2_DETECTOR,
        writable=False,
        after=_caffe2_detector,
    ),
    "mmdet": Layout(
        r"^rpn_head\.|^roi_head\.",
        detectors.MMDET,
        after=backbones.from_openmmlab,
        before=backbones.to_mmdet,
    ),
    "torchvision": Layout(
        r"^rpn\.head\.",
        detectors.TORCHVISION,
        after=_torchvision_detector,
        before=detectors.background_first,
    ),
    "ours": Layout(r"^rpn\.(conv|objectness)\.|^roi_heads\.predictor\.", ()),
}
Kinds = Sequence[tuple[Kind, Mapping[str, Layout]]]
_KINDS: Kinds = (("detector", DETECTORS), ("backbone", BACKBONES))
