"""Reads images into memory: from class folders, from zip files of them, or torchvision's CIFAR."""

from __future__ import annotations

import logging
import os
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from resnet_backbone.data.labelled.image_folder import (
    checked_classes,
    is_image,
    kind_of,
    say_what_was_found,
)
from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.loading.bit_depth import describe_depth
from resnet_backbone.data.loading.decoding import MAX_PIXELS, SUFFIXES, BitDepth, depth_of
from resnet_backbone.data.loading.folders import Walk, is_hidden
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.data.loading.loader import OnBadSample
from resnet_backbone.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

logger = logging.getLogger(__name__)

# Larger files in a zip are rejected before unpacking, since a zip may claim any size.
MAX_BYTES = 64 * 2**20


def read_class_folders(
    sources: Sequence[Path],
    *,
    class_names: Sequence[str] | None = None,
    on_bad_sample: OnBadSample = "error",
    max_pixels: int = MAX_PIXELS,
    bit_depth: BitDepth = "auto",
) -> InMemoryImages:
    """Reads all images of folders and zip files into memory; their folder's name is their class.

    Args:
        sources: Folders or `.zip` files that contain class folders at any depth.
        class_names: The expected name of each class; None takes the classes found, sorted by name.
        on_bad_sample: "skip" leaves out images that cannot be read, and lists them.
        max_pixels: Images with more pixels are rejected without decoding them.
        bit_depth: The range of channels of more than 8 bits; "auto" is that of all images.

    Raises:
        DataError: there are no images, the classes are not as expected, the images differ in size,
            or a file cannot be read.
    """
    images: list[Tensor] = []
    found: list[tuple[str, str]] = []  # class and name
    wide: dict[int, bytes] = {}  # content of images of more than 8 bits, by their place
    largest, skipped = 0, list[str]()
    left_out: Counter[str] = Counter()
    where = ", ".join(map(str, sources))
    for label, name, read in (file for source in sources for file in _files(source, left_out)):
        try:
            content = _content(name, read)
            encoded = EncodedImage(content, name, max_pixels=max_pixels, bit_depth=bit_depth)
            image, value = encoded.pixels(), encoded.largest_value()
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
        if value is not None:
            wide[len(images)], largest = content, max(largest, value)
        images.append(image)
        found.append((label, name))
    if not images:
        unreadable = f" that can be read; {len(skipped)} cannot: {skipped[0]}" if skipped else ""
        raise DataError(f"{where}: no images ({', '.join(SUFFIXES)}){unreadable}")
    if wide:
        told = describe_depth(len(wide), len(images), largest, bit_depth)
        logger.warning("%s: %s", where, told)
    if wide and bit_depth == "auto":  # by the range of all of them
        bit_depth = depth_of(largest)
        for place, content in wide.items():
            encoded = EncodedImage(content, found[place][1], bit_depth=bit_depth)
            images[place] = encoded.pixels()
    names = checked_classes({label for label, _ in found}, class_names, where)
    say_what_was_found(where, len(images), len(names), left_out)
    numbers = {name: number for number, name in enumerate(names)}
    return InMemoryImages(
        images=torch.stack(images),
        labels=torch.tensor([numbers[label] for label, _ in found]),
        names=[name for _, name in found],
        class_names=names,
        skipped=tuple(skipped),
        bit_depth=bit_depth,
    )


def check_folder_or_zip(source: Path) -> None:
    """Raises DataError if there is neither a folder nor a file of this name."""
    if not os.path.isdir(source) and not os.path.isfile(source):
        raise DataError(f"{source}: no such folder or zip file")


def read_cifar(
    root: Path, split: Literal["train", "val"], classes: Literal[10, 100]
) -> InMemoryImages:
    """Reads CIFAR as downloaded by torchvision, which verifies checksums before unpickling.

    Raises:
        DataError: the files are missing, or their checksums differ from the published ones.
    """
    kind = _torchvisions(classes)
    try:
        dataset = kind(str(root), train=split == "train", download=False)
    except RuntimeError as error:
        raise _no_cifar(root, classes) from error
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
    return InMemoryImages(
        images=pixels,
        labels=torch.tensor(dataset.targets),
        names=[f"{split}/{number}" for number in range(len(pixels))],
        class_names=tuple(dataset.classes),
    )


def check_cifar_folder(root: Path, classes: Literal[10, 100]) -> None:
    """Raises DataError if the folder of CIFAR's files does not exist."""
    if not os.path.isdir(root / _torchvisions(classes).base_folder):
        raise _no_cifar(root, classes)


def _torchvisions(classes: Literal[10, 100]) -> type[CIFAR10]:
    from torchvision.datasets import CIFAR10, CIFAR100

    return CIFAR10 if classes == 10 else CIFAR100


def _no_cifar(root: Path, classes: Literal[10, 100]) -> DataError:
    name = _torchvisions(classes).__name__
    return DataError(
        f'{root}: CIFAR-{classes} is missing or damaged; download it with python -c "from '
        f"torchvision.datasets import {name}; {name}('{root}', download=True)\""
    )


def _files(source: Path, left_out: Counter[str]) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Yields the class and name of each image, sorted, and a function that reads its content.

    Class folders lie as deep as the image that is the least deep; what lies in folders inside them
    is of the same class.
    """
    check_folder_or_zip(source)
    if source.is_dir():
        walk = Walk(str(source), follow=True, hidden=False)
        found = [entry.path for entry in walk.files()]
        files = {path: Path(path).read_bytes for path in found + walk.absent}
        for path, reason in walk.unreadable.items():
            raise DataError(f"{path}: cannot be listed: {reason}; its images would be missing")
        if walk.passed_over:
            left_out["hidden folder"] += len(walk.passed_over)
        yield from _with_classes(source, files, left_out)
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: not a zip file, or damaged: {error}") from error
    with archive:
        members = {
            f"{source}/{member.filename}": partial(_unpack, archive, member)
            for member in archive.infolist()
            if not member.is_dir()
        }
        yield from _with_classes(source, members, left_out)


def _with_classes(
    source: Path, files: Mapping[str, Callable[[], bytes]], left_out: Counter[str]
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    above = len(PurePosixPath(source).parts)
    images: dict[str, tuple[str, ...]] = {}
    for name in sorted(files):
        *folders, base = PurePosixPath(name).parts[above:]
        if is_image(base) and not any(map(is_hidden, folders)):
            images[name] = tuple(folders)
        else:
            left_out["file in a hidden folder" if is_image(base) else kind_of(base)] += 1
    depth = min(map(len, images.values()), default=0)
    for name, parts in images.items():
        if not depth:
            raise DataError(
                f"{min(images, key=lambda each: len(images[each]))}: not in a class folder; its "
                "class would be unknown"
            )
        yield unicodedata.normalize("NFC", parts[depth - 1]), name, files[name]


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
