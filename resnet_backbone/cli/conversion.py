"""What `resnet-backbone convert` does once its command line is read."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

from resnet_backbone.cli.options import refuse_existing
from resnet_backbone.errors import ConfigError
from resnet_backbone.plugins.proof import Proof, prove
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.utils.text import count_of
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.convert import OURS, fold, without, write_as
from resnet_backbone.weights.presets import MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored, read_weights
from resnet_backbone.weights.targets import (
    arch_of,
    facts_of,
    refuse_inexpressible,
    refuse_other_network,
    settings_for,
)


def convert_file(arguments: argparse.Namespace) -> None:
    """Converts a weight file and prints the proof.

    Raises:
        ConfigError: the output would replace the input.
        StorageError: the output exists, or cannot be written.
        WeightsError: the input cannot be read, or the target cannot express it.
    """
    given = os.path.expanduser(arguments.input)
    source = weights_in(given) if os.path.isdir(given) else arguments.input
    if os.path.realpath(arguments.output) == os.path.realpath(source):
        raise ConfigError(f"{arguments.output}: the output would replace the input; name another")
    refuse_existing(arguments.output, overwrite=arguments.overwrite)
    stored = _with_stated(read_weights(source, arguments.arch), arguments)
    if arguments.backbone:
        stored = stored.as_backbone()
    stored, lost = without(stored, arguments.allow_extra)
    arch = arguments.arch or arch_of(stored)
    refuse_other_network(stored, arch)
    if arguments.fold:
        target = MSRA if arguments.fold == "BGR" else TORCHVISION
        stored = fold(stored, arguments.fold, target)
    settings = []
    if arguments.to != OURS:
        facts = facts_of(stored, arch)
        refuse_inexpressible(facts, arguments.to, stored.source)
        settings = settings_for(facts, arguments.to)
    proofs = _proofs(stored, arch, arguments.to)
    count = write_as(stored, arguments.output, arguments.to, arch)
    print(f"{stored.source}: {arch}, layout {stored.layout}, {stored.kind}")
    _print_card(stored.card)
    print(*proofs, sep="\n")
    if settings:
        print(f"what {arguments.to} has to be told:", *settings, sep="\n  ")
    if lost:
        print(f"{count_of(lost, 'tensor')} left out, as --allow-extra says")
    print(f"{count_of(count, 'tensor')}: {arguments.output}")


def _with_stated(stored: Stored, arguments: argparse.Namespace) -> Stored:
    """Adds to the card what the command line states; what it contradicts, it replaces."""
    stated: dict[str, Any] = {"arch": arguments.arch, "channel_order": arguments.channel_order}
    stated |= {key: tuple(value) for key in ("mean", "std") if (value := getattr(arguments, key))}
    if arguments.stride_in_1x1:
        stated["stride_in_1x1"] = arguments.stride_in_1x1 == "true"
    update = {key: value for key, value in stated.items() if value is not None}
    if not update:
        return stored
    card = stored.card or WeightsCard(layout=stored.layout)
    return replace(stored, card=card.at_255().model_copy(update=update))


def _print_card(card: WeightsCard | None) -> None:
    if card is None:
        print("card: nothing is known; give --channel-order, --mean, --std and --stride-in-1x1")
        return
    print("card:")
    for key, value in card.model_dump(exclude_none=True, exclude={"recipe"}).items():
        print(f"  {key}: {value}")
    if recipe := card.recipe:
        decay = f"{recipe.weight_decay:g}, of norms {recipe.weight_decay_norm:g}"
        print(f"  recipe: {recipe.optimizer}, lr {recipe.lr:g}, weight decay {decay}")
    if missing := card.missing_facts():
        print(f"  not known: {', '.join(missing)}")


def _proofs(stored: Stored, arch: str, target: str) -> list[str]:
    """Compares with the frameworks that the weights come from and go to.

    Raises:
        WeightsError: one of them computes something else.
    """
    stride, lines = bool(stored.card and stored.card.stride_in_1x1), []
    for layout in dict.fromkeys((stored.layout, target)):
        if layout in (OURS, "ours"):
            continue
        result = prove(stored, arch, stride_in_1x1=stride, layout=layout)
        if isinstance(result, Proof):
            numbers = ", ".join(f"{stage} {d:.1e}" for stage, d in result.differences.items())
            part = "model" if stored.kind == "backbone" else "backbone; heads are not compared"
            lines.append(f"largest difference from {layout}'s own {part}, relative: {numbers}")
        else:
            lines.append(f"not compared with {layout}: {result}")
    return lines
