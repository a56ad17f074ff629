"""Computes the mean image of the training images, which the paper's ImageNet recipe subtracts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resnet_backbone.cli.options import (
    add_config_options,
    add_overwrite_option,
    named_path,
    refuse_existing,
)
from resnet_backbone.cli.runner import late_imports, make_parser
from resnet_backbone.errors import ConfigError
from resnet_backbone.utils.progress import bar_options
from resnet_backbone.utils.text import count_of

if TYPE_CHECKING:
    from torch import Tensor

    from resnet_backbone.data.loading.loader import BatchLoader
    from resnet_backbone.structures import ImageBatch

EXAMPLES = """examples:
  {compute_mean} --config imagenet_r50.yaml data.root=/data/imagenet \\
      --output mean_image.safetensors
  {pretrain} --config imagenet_r50.yaml data.root=/data/imagenet \\
      model.mean_image=mean_image.safetensors

Data in memory (CIFAR) needs no file: model.mean_image=auto.

exit codes: 0 done, 2 settings, 3 data, 4 the file cannot be written, 70 a bug
"""
BATCH = 64


def main(argv: list[str] | None = None) -> None:
    """Reads the command line, computes the mean image and writes it."""
    parser = make_parser("compute-mean", __doc__, EXAMPLES)
    add_config_options(parser)
    parser.add_argument("--output", required=True, type=named_path, help="a .safetensors file")
    add_overwrite_option(parser)
    arguments = parser.parse_intermixed_args(argv)
    with late_imports():
        from resnet_backbone.config.load import load_classification_config
        from resnet_backbone.data.labelled.build import training_images
        from resnet_backbone.data.labelled.dataset import collate_images
        from resnet_backbone.data.labelled.mean_image import mean_of, write_mean_image
        from resnet_backbone.data.loading.loader import BatchLoader, EvaluationBatches, make_loader

    cfg = load_classification_config(arguments.config, arguments.overrides)
    if cfg.data.in_memory:
        raise ConfigError(
            f"data.format is {cfg.data.format}: model.mean_image=auto computes it as it reads"
        )
    refuse_existing(arguments.output, overwrite=arguments.overwrite)
    dataset = training_images(cfg.data)
    batches = EvaluationBatches(dataset, collate_images, 0, cfg.data.on_bad_sample)
    numbers = range(len(dataset))
    keys = [numbers[start : start + BATCH] for start in range(0, len(dataset), BATCH)]
    loader = BatchLoader(make_loader(batches, keys, cfg.data.workers), dataset.skipped)
    mean = mean_of(_images(loader))
    write_mean_image(mean, arguments.output)
    red, green, blue = mean.mean(dim=(1, 2)).tolist()
    print(
        f"mean of {count_of(len(dataset) - len(dataset.skipped), 'image')}: "
        f"{red:.2f} {green:.2f} {blue:.2f} (RGB); in {arguments.output}"
    )


def _images(loader: BatchLoader[ImageBatch]) -> Iterator[Tensor]:
    from tqdm import tqdm

    for batch in tqdm(loader, desc="reading", unit="batch", **bar_options()):
        yield from batch.images
