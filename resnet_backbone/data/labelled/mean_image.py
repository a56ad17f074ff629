"""The mean image of a training set: the paper's per-pixel mean (He et al. 2016, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.utils.storage import make_folder, write_file
from resnet_backbone.utils.tensors import pack

KEY = "mean"


def mean_of(images: Iterable[Tensor]) -> Tensor:
    """Returns float32[3, H, W], the mean of images uint8[3, H, W], which must have the same size.

    Raises:
        DataError: there are no images.
    """
    total, count = None, 0
    for image in images:
        total = image.long() if total is None else total.add_(image)
        count += 1
    if total is None:
        raise DataError("a mean image needs at least one image")
    return (total.double() / count).float()


def write_mean_image(mean: Tensor, file: Path) -> None:
    """Writes a mean image, float32[3, H, W], to a safetensors file.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(file.parent)
    write_file(file, pack({KEY: mean}))


def read_mean_image(file: Path, size: int) -> Tensor:
    """Reads a mean image: float32[3, size, size], RGB, 0 to 255.

    Raises:
        ConfigError: the file is missing, contains something else, or has another size.
    """
    try:
        with safe_open(file, "pt") as content:
            mean = content.get_tensor(KEY)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"model.mean_image: {file} is not a mean image: {error}") from error
    if mean.shape != (3, size, size) or not mean.is_floating_point():
        raise ConfigError(
            f"model.mean_image: {file} has shape {list(mean.shape)} and dtype {mean.dtype}, "
            f"expected floats [3, {size}, {size}] (data.size); create it with tools/compute_mean.py"
        )
    if not bool(torch.isfinite(mean).all() and mean.min() >= 0 and mean.max() <= 255):
        raise ConfigError(f"model.mean_image: {file} contains values outside of 0 to 255")
    return mean
