"""Evaluates a trained detector on the validation split of its dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from resnet_backbone.config.load import load_config
from resnet_backbone.engine.evaluate_weights import RESULTS, evaluate_weights
from resnet_backbone.utils import cli, distributed, logging
from resnet_backbone.utils.device import pick_device

EPILOG = """\
example:
  python tools/evaluate.py --config coco_mrcnn_r50.yaml \\
      --weights output/coco_mrcnn_r50/model.safetensors data.root=/data/coco

Several GPUs: torchrun --nproc-per-node=8 tools/evaluate.py ...

exit codes: 0 done; 2 configuration or weights; 3 data; 4 storage; 75 interrupted, nothing written
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="a file, or the name of a shipped one")
    parser.add_argument("--weights", required=True, type=Path, help="a .safetensors file")
    parser.add_argument(
        "--output", type=Path, help="folder for results and pictures; default: <output>/evaluation"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="configuration changes")
    arguments = parser.parse_intermixed_args(argv)

    cfg = load_config(arguments.config, arguments.overrides)
    logging.setup(rank=distributed.rank())
    distributed.init_from_env(pick_device(cfg.device))
    try:
        output = arguments.output or Path(cfg.output) / "evaluation"
        result = evaluate_weights(cfg, arguments.weights, output)
        if distributed.is_main():
            print(f"\n{result}\n\nresults: {output / RESULTS}, pictures: {output / 'pictures'}")
    finally:
        distributed.shutdown()


if __name__ == "__main__":
    cli.run(main)
