"""Evaluates a trained detector, or classifiers, on the validation split of a dataset."""

from __future__ import annotations

from resnet_backbone.cli.options import add_config_options, files_and_overrides, named_path
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.utils.run_layout import PICTURES, RESULTS

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
        from resnet_backbone.tasks.evaluate import evaluate
        from resnet_backbone.utils import distributed, logging

    weights, more = files_and_overrides(arguments.weights)
    overrides = [*more, *arguments.overrides]
    if arguments.testing is not None:
        overrides.append(f"evaluation.testing={arguments.testing}")
    logging.setup(rank=distributed.rank())
    result = evaluate(weights, arguments.config, overrides, output=arguments.output)
    if distributed.is_main() and result.output is not None:
        pictures = result.output / PICTURES
        drawn = f", pictures: {pictures}" if "bbox" in result.metrics else ""
        print(f"\n{result}\n\nresults: {result.output / RESULTS}{drawn}")
