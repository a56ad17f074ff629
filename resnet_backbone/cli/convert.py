"""Converts a weight file to another framework's names, and proves that it computes the same."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_backbone.cli.options import add_overwrite_option, refuse_existing
from resnet_backbone.cli.runner import make_parser
from resnet_backbone.errors import ConfigError
from resnet_backbone.plugins.proof import Proof, prove
from resnet_backbone.utils.run_layout import weights_in
from resnet_backbone.utils.text import count_of
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.convert import OURS, fold, without, write_as
from resnet_backbone.weights.presets import MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored, read_weights
from resnet_backbone.weights.targets import (
    TARGETS,
    arch_of,
    facts_of,
    refuse_inexpressible,
    refuse_other_network,
    settings_for,
)

EXAMPLES = """examples:
  {convert} resnet50-0676ba61.pth r50.safetensors --to safetensors
  {convert} R-101.pkl r101.pth --to mmdet
  {convert} R-101.pkl r101.safetensors --to safetensors --fold RGB
  {convert} retinanet/model_final.pth r50.safetensors --to safetensors --backbone
  {convert} mine.pth mine_d2.pth --to detectron2 --arch resnet50 \\
      --channel-order RGB --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 \\
      --stride-in-1x1 false

exit codes: 0 done, 2 weights or command line, 4 storage, 70 a bug
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line, converts and prints the proof."""
    parser = make_parser("convert", __doc__, EXAMPLES)
    parser.add_argument("input", metavar="IN", help="a weight file of any known layout")
    parser.add_argument("output", metavar="OUT", type=Path, help="a .pth or .safetensors file")
    parser.add_argument(
        "--to", required=True, choices=(*TARGETS, OURS), help="whose names to write"
    )
    parser.add_argument("--fold", choices=("RGB", "BGR"), help="pixels that it is to take instead")
    parser.add_argument("--backbone", action="store_true", help="a detector's backbone alone")
    parser.add_argument(
        "--allow-extra",
        nargs="+",
        default=(),
        metavar="PATTERN",
        help="names without a place in our networks that may be left out, as 'aux_head.*'",
    )
    parser.add_argument("--arch", help="the network, where names and shapes leave a choice")
    parser.add_argument("--channel-order", choices=("RGB", "BGR"))
    parser.add_argument("--mean", nargs=3, type=float, help="from 0 to 255, in channel order")
    parser.add_argument("--std", nargs=3, type=float, help="likewise")
    parser.add_argument("--stride-in-1x1", choices=("true", "false"))
    add_overwrite_option(parser)
    arguments = parser.parse_args(argv)
    source = weights_in(arguments.input) if Path(arguments.input).is_dir() else arguments.input
    if arguments.output.resolve() == Path(source).resolve():
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
