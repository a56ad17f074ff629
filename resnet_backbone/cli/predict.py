"""Finds objects in images, and draws and lists them."""

from __future__ import annotations

import argparse
from pathlib import Path

from resnet_backbone.cli.runner import make_parser
from resnet_backbone.config.load import load_config
from resnet_backbone.errors import DataError
from resnet_backbone.tasks.detection.predict_files import PREDICTIONS, predict_files
from resnet_backbone.tasks.detection.predictor import Predictor
from resnet_backbone.utils import logging

EPILOG = """\
example:
  {predict} --config coco_mrcnn_r50.yaml \\
      --weights output/coco_mrcnn_r50/model.safetensors street.jpg photos/ --output pictures/

exit codes: 0 done; 2 configuration or weights; 3 some images could not be used, the others are
done; 4 storage; 75 interrupted, the list is not written
"""


def main(argv: list[str] | None = None) -> int:
    """Reads the command line and runs."""
    parser = make_parser("predict", __doc__, EPILOG)
    parser.add_argument("--config", help="default: the configuration inside the weights")
    parser.add_argument("--weights", required=True, type=Path, help="a .safetensors file")
    parser.add_argument("--output", required=True, type=Path, help="folder for pictures and list")
    parser.add_argument("--score-threshold", type=_score, default=0.5, help="default: 0.5")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    arguments = parser.parse_intermixed_args(argv)

    logging.setup()
    cfg = load_config(arguments.config) if arguments.config else None
    predictor = Predictor(
        cfg,
        weights=arguments.weights,
        device=arguments.device,
        score_threshold=arguments.score_threshold,
    )
    outcome = predict_files(predictor, arguments.images, arguments.output)
    for failure in outcome.failures:
        print(f"failed: {failure}")
    print(
        f"{outcome.drawn} images drawn, {len(outcome.failures)} failed; "
        f"results: {arguments.output / PREDICTIONS}"
    )
    return DataError.exit_code if outcome.failures else 0


def _score(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value
