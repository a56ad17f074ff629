"""detectron2's names for the tensors of our networks, in the state dicts that its tools see.

detectron2 fills a model with what fits by name, and only logs the rest. Where it has the network
itself, ours is therefore called as its own: its model zoo and its ImageNet files load, and its own
ResNet loads our checkpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resnet_backbone.backbone.resnet import ResNet
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.backbone_names import DETECTRON2
from resnet_backbone.weights.embedded import EXTRA_STATE
from resnet_backbone.weights.layouts import FOLDED_VARIANCE
from resnet_backbone.weights.presets import known_card
from resnet_backbone.weights.recognise import described, networks_like
from resnet_backbone.weights.targets import TARGETS

_NORM = _WEIGHT, _MEAN, _VARIANCE = "bn1.weight", "running_mean", "running_var"
_FOLDED_WITHIN = 1e-4  # detectron2's files have 1 or 1 - eps
_STRIDE = "MODEL.RESNET_BACKBONE.STRIDE_IN_1X1"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Names:
    """How a module's own names are related to those of a whole network of ours, and of detectron2.

    Attributes:
        module: What the module's names start with before ours.
        ours: What ours start with that the module's lack: "layer4." for res5 alone.
        theirs: What detectron2's start with that the module's lack: "res5." for res5 alone.
    """

    module: str = ""
    ours: str = ""
    theirs: str = ""

    def to_theirs(self, name: str) -> str | None:
        """Returns detectron2's name for one of the module's; None if it has none."""
        if not name.startswith(self.module):
            return None
        full = self.ours + name.removeprefix(self.module)
        found = next((n for rule in DETECTRON2 if (n := rule.from_ours(full)) is not None), None)
        return None if found is None else found.removeprefix(self.theirs)

    def to_module(self, name: str) -> str | None:
        """Returns the module's name for one of detectron2's; None if there is no such name."""
        full = self.theirs + name
        found = next((n for rule in DETECTRON2 if (n := rule.to_ours(full)) is not None), None)
        return None if found is None else self.module + found.removeprefix(self.ours)


BACKBONE = Names(module="net.")
RES5 = Names(ours="layer4.", theirs="res5.")


def use_detectron2_names(module: nn.Module, names: Names, network: str) -> None:
    """Gives a module's state dict detectron2's names, if detectron2 has the network.

    Both names are read. Other networks, such as a ResNet-D, keep the module's own names. A
    checkpoint without a card is compared with the network by what its tensors say.

    Args:
        module: A module with our parameters.
        names: How they are called in it.
        network: The network's name in `list_backbones`.
    """
    if network in TARGETS["detectron2"].networks:
        module.register_state_dict_post_hook(partial(_rename, names))
    module.register_load_state_dict_pre_hook(partial(_understand, names))


def _rename(
    names: Names, _module: nn.Module, state: dict[str, Any], prefix: str, _metadata: object
) -> None:
    """Renames what a module has put into a state dict."""
    for name in [name for name in state if name.startswith(prefix)]:
        theirs = names.to_theirs(name.removeprefix(prefix))
        value = state.pop(name)
        state[name if theirs is None else prefix + theirs] = value


def _understand(
    names: Names, module: nn.Module, state: dict[str, Any], prefix: str, *_unused: object
) -> None:
    """Gives a state dict the module's own names, before it is loaded."""
    for name in [name for name in state if name.startswith(prefix)]:
        own = names.to_module(name.removeprefix(prefix))
        if own is not None:
            state[prefix + own] = state.pop(name)
    below, net = prefix + names.module, module.get_submodule(names.module[:-1])
    _complete(net, state, below)
    if isinstance(net, ResNet) and prefix + EXTRA_STATE not in state:
        found = {name: value for name, value in state.items() if name.startswith(below)}
        _compare(net, {name.removeprefix(below): value for name, value in found.items()})


def _complete(net: nn.Module, state: dict[str, Any], prefix: str) -> None:
    """Adds statistics to norms without, as in Caffe2's files: they are folded into the weights."""
    values = {_MEAN: 0.0, _VARIANCE: FOLDED_VARIANCE}
    for name, buffer in net.named_buffers():
        norm, _, kind = f"{prefix}{name}".rpartition(".")
        if kind in values and f"{norm}.weight" in state:
            state.setdefault(f"{norm}.{kind}", torch.full_like(buffer, values[kind]))


def _compare(net: ResNet, tensors: Mapping[str, Tensor]) -> None:
    """Compares a network with tensors without a card, by our names.

    Raises:
        WeightsError: they are of another network, or of one that strides elsewhere.
    """
    similar = networks_like(tensors)
    if similar and net.name not in similar:
        raise WeightsError(
            f"the checkpoint holds {described(tensors)}, but MODEL.RESNET_BACKBONE.NAME is"
            f" {net.name}"
        )
    if not tensors or not net.variant.has_bottlenecks:
        return
    built, card = net.options.stride_in_1x1, None
    if _are_folded(tensors):
        card = known_card("the checkpoint", "caffe2", "backbone", net.name, tensors)
    if card is None or card.stride_in_1x1 is None:
        logger.warning(
            "the checkpoint does not say where its bottlenecks stride; %s=%s is assumed",
            *(_STRIDE, built),
        )
    elif card.stride_in_1x1 != built:
        raise WeightsError(
            f"the checkpoint descends from {card.source}, with {_STRIDE} {card.stride_in_1x1},"
            f" but the network was built with {built}; set this key"
        )


def _are_folded(tensors: Mapping[str, Tensor]) -> bool:
    """Returns whether norms have no statistics of their own, which a frozen norm keeps so.

    Without trained affine parameters they are merely new.
    """
    found = {kind: [t for n, t in tensors.items() if n.endswith(kind)] for kind in _NORM}
    plain = not any(bool(mean.any()) for mean in found[_MEAN])
    constant = all(bool(((var - 1).abs() < _FOLDED_WITHIN).all()) for var in found[_VARIANCE])
    trained = any(bool((weight != 1).any()) for weight in found[_WEIGHT])
    return bool(found[_MEAN]) and plain and constant and trained
