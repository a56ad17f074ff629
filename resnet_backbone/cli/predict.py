"""Detects objects in images, or classifies images; draws what is found, and lists it."""

from __future__ import annotations

import argparse
import math

from resnet_backbone.cli.options import files_and_overrides, named_path
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of

EPILOG = """\
examples:
  {predict} --weights output/coco_mrcnn_r50/model.safetensors street.jpg photos/ \\
      --output pictures/
  {predict} --weights output/imagenet_r50/model.safetensors --top 3 photos/ --output named/
  {predict} --config coco_mrcnn_r50.yaml --weights model_final_a54504.pkl street.jpg \\
      --output pictures/ model.roi.detections_per_image=20

Files in the output folder that no earlier prediction wrote are never replaced.

exit codes: 0 done; 2 configuration or weights; 3 some images could not be used, the others are
done; 4 storage; 70 a bug; 75 interrupted, what was done until then is listed
"""

SCORE_THRESHOLD = 0.5  # of the detections that are drawn and listed


def main(argv: list[str] | None = None) -> int:
    """Reads the command line and predicts."""
    parser = make_parser("predict", __doc__, EPILOG)
    parser.add_argument("--config", help="default: the configuration inside the weights")
    parser.add_argument(
        "--weights",
        required=True,
        type=named_path,
        help="a weight file, or the folder of a finished run",
    )
    parser.add_argument(
        "--output", required=True, type=named_path, help="folder for pictures and list"
    )
    parser.add_argument(
        "--score-threshold", type=_score, help=f"detectors: default {SCORE_THRESHOLD}"
    )
    parser.add_argument(
        "--color-by",
        choices=("class", "instance"),
        help="detectors: default class; instance: tell neighbours of one class apart",
    )
    parser.add_argument(
        "--top",
        type=_count,
        metavar="N",
        help="classifiers: how many of the most probable classes; default 5",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE | key=value",
        help="image files, folders of them, and any keys of the configuration",
    )
    arguments = parser.parse_intermixed_args(argv)
    images, overrides = files_and_overrides(arguments.images)
    if not images:
        parser.error("name an image, or a folder of images")
    with late_imports():
        from resnet_backbone.tasks.predict_files import PREDICTIONS, predict_files
        from resnet_backbone.tasks.predictor import Predictor
        from resnet_backbone.tasks.stored_config import config_to_predict_with, is_classifier
        from resnet_backbone.utils import logging

    logging.setup()
    weights, threshold = arguments.weights, arguments.score_threshold
    cfg = config_to_predict_with(weights, arguments.config, overrides)
    if threshold is None and not is_classifier(weights, cfg):
        threshold = SCORE_THRESHOLD
    predictor = Predictor(
        weights, cfg, device=arguments.device, score_threshold=threshold, top=arguments.top
    )
    form = predictor.form(arguments.color_by)
    outcome = predict_files(predictor, form, images, arguments.output)
    for failure in outcome.failures:
        print(f"failed: {failure}")
    results = arguments.output / PREDICTIONS if outcome.drawn else "none"
    drawn = count_of(outcome.drawn, "image")
    print(f"{drawn} drawn, {len(outcome.failures)} failed; results: {results}")
    return DataError.exit_code if outcome.failures else 0


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1")
    return int(text)
