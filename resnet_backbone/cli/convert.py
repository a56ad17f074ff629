"""Converts a weight file to another framework's names, and proves that it computes the same."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from resnet_backbone.cli.runner import make_parser
from resnet_backbone.plugins.proof import Proof, arch_of, prove
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.convert import OURS, fold, write_as
from resnet_backbone.weights.presets import MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored, read_weights

EXAMPLES = """examples:
  {convert} resnet50-0676ba61.pth r50.safetensors --to safetensors
  {convert} R-101.pkl r101.pth --to torchvision
  {convert} R-101.pkl r101.safetensors --to safetensors --fold RGB
  {convert} mine.pth mine_d2.pth --to detectron2 --arch resnet50 \\
      --channel-order RGB --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 \\
      --stride-in-1x1 false

exit codes: 0 done, 2 weights or command line, 4 storage, 70 a bug
"""
TARGETS = ("torchvision", "timm", "detectron2", "mmpretrain", "mmdet", "transformers", OURS)


def main(argv: list[str] | None = None) -> None:
    """Reads the command line, converts and prints the proof."""
    parser = make_parser("convert", __doc__, EXAMPLES)
    parser.add_argument("input", metavar="IN", help="a weight file of any known layout")
    parser.add_argument("output", metavar="OUT", help="a .pth or .safetensors file")
    parser.add_argument("--to", required=True, choices=TARGETS, help="whose names to write")
    parser.add_argument("--fold", choices=("RGB", "BGR"), help="pixels that it is to take instead")
    parser.add_argument("--arch", help="the network, where names and shapes leave a choice")
    parser.add_argument("--channel-order", choices=("RGB", "BGR"))
    parser.add_argument("--mean", nargs=3, type=float, help="from 0 to 255, in channel order")
    parser.add_argument("--std", nargs=3, type=float, help="likewise")
    parser.add_argument("--stride-in-1x1", choices=("true", "false"))
    arguments = parser.parse_args(argv)
    stored = _with_stated(read_weights(arguments.input, arguments.arch), arguments)
    arch = arguments.arch or arch_of(stored)
    if arguments.fold:
        target = MSRA if arguments.fold == "BGR" else TORCHVISION
        stored = fold(stored, arguments.fold, target)
    count = write_as(stored, arguments.output, arguments.to)
    print(f"{stored.source}: {arch}, layout {stored.layout}, {stored.kind}")
    _print_card(stored.card)
    _print_proof(stored, arch, arguments.to)
    print(f"{count} tensors are in {arguments.output}")


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


def _print_proof(stored: Stored, arch: str, target: str) -> None:
    stride = bool(stored.card and stored.card.stride_in_1x1)
    for layout in dict.fromkeys((stored.layout, target)):
        if layout in (OURS, "ours"):
            continue
        result = prove(stored, arch, stride_in_1x1=stride, layout=layout)
        if isinstance(result, Proof):
            numbers = ", ".join(f"{stage} {d:.1e}" for stage, d in result.differences.items())
            print(f"largest difference from {layout}'s own model, relative: {numbers}")
        else:
            print(f"not compared with {layout}: {result}")
