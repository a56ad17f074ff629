"""Evaluates a trained detector, or classifiers, on the validation split of a dataset."""

from __future__ import annotations

from pathlib import Path

from resnet_backbone.cli.options import add_config_options, files_and_overrides, named_path
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.run_layout import PICTURES, RESULTS, weights_in

EPILOG = """\
examples:
  {evaluate} --weights output/quickstart
  {evaluate} --weights output/coco_mrcnn_r50/model.safetensors data.root=/data/coco
  {evaluate} --config coco_mrcnn_r50.yaml --weights model_final_a54504.pkl data.root=/data/coco
  {evaluate} --config imagenet_r101.yaml --testing ten_crop \\
      --weights output/imagenet_r101/model.safetensors data.root=/data/imagenet

Several files of classifiers are evaluated as an ensemble.
Several GPUs: torchrun --nproc-per-node=8 {evaluate_on_ranks} ...

exit codes: 0 done; 2 configuration or weights; 3 data; 4 storage; 69 another rank is gone;
70 a bug; 75 interrupted, nothing written
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and evaluates."""
    parser = make_parser("evaluate", __doc__, EPILOG)
    add_config_options(parser, "default: the configuration inside the weights")
    parser.add_argument(
        "--weights",
        required=True,
        nargs="+",
        help="a weight file or the folder of a finished run; or several",
    )
    parser.add_argument(
        "--testing",
        choices=("single", "ten_crop", "multi_scale"),
        help="classifiers: the views of an image whose scores are averaged",
    )
    parser.add_argument(
        "--output",
        type=named_path,
        help="folder for results and pictures; default: evaluation, below the configuration's "
        "output, or beside the weights",
    )
    arguments = parser.parse_intermixed_args(argv)
    with late_imports():
        from resnet_backbone.config.load import load_any_config
        from resnet_backbone.tasks.classification.evaluate_files import evaluate_classifier_files
        from resnet_backbone.tasks.detection.evaluate_file import evaluate_detector_file
        from resnet_backbone.tasks.stored_config import config_inside
        from resnet_backbone.utils import distributed, logging
        from resnet_backbone.utils.device import pick_device

    weights, more = files_and_overrides(arguments.weights)
    overrides = [*more, *arguments.overrides]
    if arguments.testing is not None:
        overrides.append(f"evaluation.testing={arguments.testing}")
    if arguments.config is None:
        cfg = config_inside(weights[0], overrides)
        beside = weights_in(weights[0]).parent
    else:
        cfg = load_any_config(arguments.config, overrides)
        beside = Path(cfg.output)
    logging.setup(rank=distributed.rank())
    with distributed.joined(pick_device(cfg.device)):
        output = arguments.output or beside / "evaluation"
        if cfg.task == "classification":
            result = evaluate_classifier_files(cfg, weights, output)
            left = str(output / RESULTS)
        else:
            result = evaluate_detector_file(cfg, _only(weights), output)
            left = f"{output / RESULTS}, pictures: {output / PICTURES}"
        if distributed.is_main():
            print(f"\n{result}\n\nresults: {left}")


def _only(weights: list[Path]) -> Path:
    if len(weights) > 1:
        raise ConfigError(
            f"--weights: {len(weights)} files, but detectors are evaluated one at a time; "
            "only several classifiers make an ensemble"
        )
    return weights[0]
