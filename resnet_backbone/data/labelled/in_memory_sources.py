"""Reads images into memory: from class folders, from zip files of them, or torchvision's CIFAR."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.labelled.image_folder import SUFFIXES, checked_classes, is_image
from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.loading.decoding import MAX_PIXELS
from resnet_backbone.data.loading.jpeg import decode_image
from resnet_backbone.data.loading.loader import OnBadSample
from resnet_backbone.errors import DataError

# Larger files in a zip are rejected before unpacking, since a zip may claim any size.
MAX_BYTES = 64 * 2**20


def read_class_folders(
    sources: Sequence[Path],
    *,
    class_names: Sequence[str] | None = None,
    on_bad_sample: OnBadSample = "error",
    max_pixels: int = MAX_PIXELS,
) -> InMemoryImages:
    """Reads all images of folders and zip files into memory; their folder's name is their class.

    Args:
        sources: Folders or `.zip` files that contain class folders at any depth.
        class_names: The expected name of each class; None takes the classes found, sorted by name.
        on_bad_sample: "skip" leaves out images that cannot be read, and lists them.
        max_pixels: Images with more pixels are rejected without decoding them.

    Raises:
        DataError: there are no images, the classes are not as expected, the images differ in size,
            or a file cannot be read.
    """
    images: list[Tensor] = []
    found: list[tuple[str, str]] = []  # class and name
    skipped: list[str] = []
    for source in sources:
        for name, read in _files(source):
            if PurePosixPath(name).parent == PurePosixPath(source):
                raise DataError(f"{name}: not in a class folder; its class would be unknown")
            try:
                image = decode_image(_content(name, read), name, max_pixels=max_pixels)
            except DataError as error:
                if on_bad_sample == "error":
                    raise
                skipped.append(str(error))
                continue
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{name}: {_size(image)} pixels, but {found[0][1]} has {_size(images[0])}; "
                    "images in memory must have the same size (use data.format=folders otherwise)"
                )
            images.append(image)
            found.append((PurePosixPath(name).parent.name, name))
    if not images:
        raise DataError(f"{', '.join(map(str, sources))}: no images ({', '.join(SUFFIXES)})")
    where = ", ".join(map(str, sources))
    names = checked_classes({label for label, _ in found}, class_names, where)
    numbers = {name: number for number, name in enumerate(names)}
    return InMemoryImages(
        images=torch.stack(images),
        labels=torch.tensor([numbers[label] for label, _ in found]),
        names=[name for _, name in found],
        class_names=names,
        skipped=tuple(skipped),
    )


def read_cifar(
    root: Path, split: Literal["train", "val"], classes: Literal[10, 100]
) -> InMemoryImages:
    """Reads CIFAR as downloaded by torchvision, which verifies checksums before unpickling.

    Raises:
        DataError: the files are missing, or their checksums differ from the published ones.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR10 if classes == 10 else CIFAR100
    try:
        dataset = kind(str(root), train=split == "train", download=False)
    except RuntimeError as error:
        raise DataError(
            f'{root}: CIFAR-{classes} is missing or damaged; download it with python -c "from '
            f"torchvision.datasets import {kind.__name__}; {kind.__name__}('{root}', "
            'download=True)"'
        ) from error
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
    return InMemoryImages(
        images=pixels,
        labels=torch.tensor(dataset.targets),
        names=[f"{split}/{number}" for number in range(len(pixels))],
        class_names=tuple(dataset.classes),
    )


def _files(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yields the name of each image, sorted, and a function that reads its content."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if is_image(path.name):
                yield str(path), path.read_bytes
        return
    if not source.is_file():
        raise DataError(f"{source}: no such folder or zip file")
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: not a zip file, or damaged: {error}") from error
    with archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            if is_image(PurePosixPath(member.filename).name):
                yield f"{source}/{member.filename}", partial(_unpack, archive, member)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_BYTES:
        raise OSError(f"{member.file_size} bytes are more than the limit of {MAX_BYTES}")
    return archive.read(member)


def _content(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    # RuntimeError: the file is encrypted. NotImplementedError: unknown compression.
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{name}: cannot be read: {error}") from error


def _size(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"
