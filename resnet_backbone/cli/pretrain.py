"""Trains a classifier, and exports its backbone for detectors."""

from __future__ import annotations

from resnet_backbone.cli.options import (
    add_config_options,
    add_earlier_run_options,
    add_print_config_option,
    print_config,
)
from resnet_backbone.cli.runner import late_imports, make_parser

EXAMPLES = """examples:
  {pretrain} --config pretrain_quickstart.yaml
  {pretrain} --config imagenet_r101.yaml data.root=/data/imagenet
  {pretrain} --config cifar10_r20.yaml data.root=/data/cifar
  torchrun --nproc-per-node=8 {pretrain_on_ranks} --config imagenet_r50_a3.yaml --resume

The backbone, with its card, is then in <output>/backbone.safetensors:
  {train} --config coco_frcnn_r101.yaml \\
      model.weights=output/imagenet_r101/backbone.safetensors

exit codes: 0 done, 2 settings or weights, 3 data, 4 storage, 5 the loss is not finite, 69
another rank is gone, 70 a bug, 75 stopped by a signal and saved: start again with --resume
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and trains."""
    parser = make_parser("pretrain", __doc__, EXAMPLES)
    add_config_options(parser)
    add_earlier_run_options(parser)
    add_print_config_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    with late_imports():
        from resnet_backbone.config.load import load_classification_config
        from resnet_backbone.tasks.train import train
        from resnet_backbone.utils import distributed, logging

    logging.setup(rank=distributed.rank())
    cfg = load_classification_config(arguments.config, arguments.overrides)
    if arguments.print_config:
        print_config(arguments.config, arguments.overrides)
        return
    train(cfg, resume=arguments.resume, overwrite=arguments.overwrite)
