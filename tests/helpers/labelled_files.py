"""Labelled image files as training sees them: a section of their configuration, and its batches."""

import itertools

import torch

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.data.labelled.build import build_images
from resnet_backbone.data.labelled.labelled_images import Steps

CPU = torch.device("cpu")


def config(root, **changes) -> ImageDataConfig:
    sizes = {"size": 16, "short_side": (18, 28), "test_resize": 20, "test_size": 16, "workers": 0}
    return ImageDataConfig(root=str(root), **(sizes | changes))


def images(root, batch_size=8, seed=0, **changes):
    return build_images(config(root, **changes), batch_size=batch_size, seed=seed, fill=(1, 2, 3))


def first_batches(found, count, start=0, batch_size=8, accumulate=1):
    batches = found.training_batches(Steps(start, batch_size, accumulate), CPU)
    return list(itertools.islice(batches, count))
