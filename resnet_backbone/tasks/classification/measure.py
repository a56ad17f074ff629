"""The paper's measurements on a trained network, with the validation images of its run."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from resnet_backbone.config.load import load_classification_config
from resnet_backbone.data.labelled.build import build_images
from resnet_backbone.paper.measure import Measured, measure_run
from resnet_backbone.tasks.classification.trained import load_trained_classifier
from resnet_backbone.utils.run_layout import CONFIG, WEIGHTS


def measure_classifier(run_folder: Path, *, images: int = 1000) -> Measured:
    """Returns layer responses and gradient norms of a run's final weights, see `measure_run`.

    Args:
        run_folder: The output folder of a finished classification run.
        images: Number of validation images to use. They are taken evenly from the whole split,
            whose files are sorted by class, and then shuffled.

    Raises:
        ConfigError: the folder does not hold a classification run.
        DataError: the images cannot be read.
        WeightsError: the weights cannot be loaded.
    """
    cfg = load_classification_config(run_folder / CONFIG)
    model = load_trained_classifier(run_folder / WEIGHTS, cfg).model
    pixels: list[Tensor] = []
    labels: list[Tensor] = []
    data = build_images(cfg.data, batch_size=1, seed=cfg.seed, fill=(0, 0, 0))
    batches = data.test_batches(cfg.evaluation.batch_size)
    share = math.ceil(images / len(batches))
    for batch in batches:
        count = len(batch.labels)
        spread = torch.linspace(0, count - 1, min(share, count)).long()
        pixels.append(model.normalize(batch.images[spread]))
        labels.append(batch.labels[spread])
    order = torch.randperm(sum(map(len, labels)), generator=torch.Generator().manual_seed(0))
    chosen = order[:images]
    return measure_run(model.network, torch.cat(pixels)[chosen], torch.cat(labels)[chosen])
