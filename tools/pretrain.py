"""Trains a classifier and hands its backbone over to detectors."""

from __future__ import annotations

from resnet_backbone.config.load import load_classification_config
from resnet_backbone.engine.train import train
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.utils import cli, distributed, logging

EXAMPLES = """examples:
  python tools/pretrain.py --config pretrain_quickstart.yaml
  python tools/pretrain.py --config imagenet_r101.yaml data.root=/data/imagenet
  python tools/pretrain.py --config cifar10_r20.yaml data.root=/data/cifar
  torchrun --nproc-per-node=8 tools/pretrain.py --config imagenet_r50_a3.yaml --resume

The backbone, with its card, is then in <output>/backbone.safetensors:
  python tools/train_net.py --config coco_frcnn_r101.yaml \\
      model.weights=output/imagenet_r101/backbone.safetensors

exit codes: 0 done, 2 settings or weights, 3 data, 4 storage, 5 the loss is not finite, 70 a bug,
75 stopped by a signal and saved: start again with --resume
"""


def main(argv: list[str] | None = None) -> None:
    """Reads the command line and trains."""
    parser = cli.make_parser(__doc__, EXAMPLES)
    parser.add_argument("--config", required=True, help="a file, or the name of a shipped one")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output")
    parser.add_argument("--overwrite", action="store_true", help="discard the run in the output")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")
    arguments = parser.parse_intermixed_args(argv)
    logging.setup(rank=distributed.rank())
    cfg = load_classification_config(arguments.config, arguments.overrides)
    train(ClassificationTask, cfg, resume=arguments.resume, overwrite=arguments.overwrite)


if __name__ == "__main__":
    cli.run(main)
