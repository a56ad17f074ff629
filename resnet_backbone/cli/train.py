"""Trains a detector, evaluates it and draws its detections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resnet_backbone.cli.options import (
    add_config_options,
    add_earlier_run_options,
    add_print_config_option,
    print_config,
)
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import ConfigError

EXAMPLES = """examples:
  {train} --config quickstart.yaml
  {train} --config coco_frcnn_r101.yaml data.root=/data/coco solver.batch_size=4
  {train} --engine detectron2 --config coco_frcnn_r101.yaml
  {train} --config ../d2/configs/COCO-Detection/faster_rcnn_R_50_C4_1x.yaml
  torchrun --nproc-per-node=2 {train_on_ranks} --config coco_mrcnn_r50.yaml --resume

exit codes: 0 done, 2 settings or weights, 3 data, 4 storage, 5 the loss is not finite, 69
another rank is gone, 70 a bug, 75 stopped by a signal and saved: start again with --resume
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and trains."""
    parser = make_parser("train", __doc__, EXAMPLES)
    add_config_options(parser)
    add_earlier_run_options(parser)
    add_print_config_option(parser)
    parser.add_argument(
        "--engine",
        choices=("ours", "detectron2"),
        default="ours",
        help="detectron2: its heads, trainer and evaluator on our backbone",
    )
    arguments = parser.parse_intermixed_args(argv)
    with late_imports():
        from resnet_backbone.config.load import load_config
        from resnet_backbone.tasks.train import train
        from resnet_backbone.utils import distributed, logging

    logging.setup(rank=distributed.rank())
    cfg = load_config(arguments.config, arguments.overrides)
    if arguments.print_config:
        print_config(arguments.config, arguments.overrides)
        return
    engine = train if arguments.engine == "ours" else _detectron2_engine()
    engine(cfg, resume=arguments.resume, overwrite=arguments.overwrite)


def _detectron2_engine() -> Callable[..., Any]:
    try:
        import detectron2  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--engine detectron2: detectron2 is not installed; it has no package, but its source"
            " works uncompiled: git clone https://github.com/facebookresearch/detectron2 and put"
            " it on PYTHONPATH"
        ) from None
    from resnet_backbone.plugins.detectron2_engine import train_with_detectron2

    return train_with_detectron2
