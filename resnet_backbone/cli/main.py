"""ResNet backbones for detection: train, evaluate and use detectors and classifiers."""

from __future__ import annotations

import argparse
from typing import NoReturn

import resnet_backbone
from resnet_backbone.cli.runner import SCRIPTS, command, run

# What the overview says of each command; `resnet-backbone COMMAND --help` says the rest.
SUMMARIES = {
    "train": "train a detector (Faster or Mask R-CNN)",
    "pretrain": "train a classifier and export its backbone",
    "evaluate": "evaluate a detector or classifiers on the validation split",
    "predict": "detect objects in images",
    "convert": "convert weights between frameworks, and compare the results",
    "analyze": "count a network's parameters and multiply-adds",
    "compute-mean": "compute the mean image of a training set",
    "compare": "draw one metric of several runs",
    "reproduce": "print the paper's tables and figures beside our numbers",
}
EXAMPLES = """examples:
  resnet-backbone train --config quickstart.yaml
  resnet-backbone train --help
  torchrun --nproc-per-node=2 -m resnet_backbone train --config coco_mrcnn_r50.yaml

commands:
"""


def main(argv: list[str] | None = None) -> int | None:
    """Reads the command line and calls the command that it names."""
    width = max(map(len, SUMMARIES))
    commands = "".join(f"  {name.ljust(width)}  {text}\n" for name, text in SUMMARIES.items())
    parser = argparse.ArgumentParser(
        prog="resnet-backbone",
        description=__doc__,
        epilog=EXAMPLES + commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=resnet_backbone.__version__)
    parser.add_argument("command", choices=SCRIPTS, metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the command")
    asked = parser.parse_args(argv)
    return command(asked.command)(asked.arguments)


def entry() -> NoReturn:
    """Runs `main` as a process of its own."""
    run(main)
