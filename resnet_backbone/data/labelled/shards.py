"""Labelled images in tar shards in webdataset's format.

A sample is the files with the same stem: an image (`000017.jpg`) and its label (`000017.cls`, a
number as text). webdataset's own readers are streams, whose position a checkpoint cannot hold. Here
the tar headers are indexed once and images are read by random access, so that the order depends
only on (seed, epoch, position), as it does for folders.
"""

from __future__ import annotations

import errno
import logging
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from PIL.ContainerIO import ContainerIO

from resnet_backbone.data.loading.decoding import SUFFIXES
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.utils.text import count_of, listing, read_any_text

LABEL = ".cls"
NAMES = "classes.txt"  # next to the shards, one class name per line; optional

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Member:
    """The location of an image in a shard; offset and size in bytes."""

    shard: int
    offset: int
    size: int


class Shards:
    """The samples of local tar files; implements `Source`.

    Args:
        root: The folder that `patterns` are relative to.
        patterns: File names, with braces for ranges: "train-{000000..000146}.tar".
        class_names: The name of each class. None takes the lines of classes.txt in `root`, or the
            class numbers if there is no such file.

    Attributes:
        class_names: The name of each class.
        names: A name for each image, for messages.
        labels: The label of each image.

    Raises:
        ConfigError: webdataset is not installed.
        DataError: a shard is missing, truncated or not a tar file, a sample has no label or no
            image, or a label is not one of the classes.
    """

    def __init__(
        self, root: Path, patterns: Sequence[str], *, class_names: Sequence[str] | None = None
    ) -> None:
        self._files = shard_files(root, patterns)
        self._members: list[_Member] = []
        self.names: list[str] = []
        self.labels: list[int] = []
        for number, file in enumerate(self._files):
            self._index(number, file)
        if not self.names:
            raise DataError(f"{root}: no samples in {', '.join(patterns)}")
        self.class_names = tuple(class_names or _class_names(root, max(self.labels) + 1))
        unknown = [n for n, label in enumerate(self.labels) if label >= len(self.class_names)]
        if unknown:
            raise DataError(
                f"{self.names[unknown[0]]}: label {self.labels[unknown[0]]}, but there are only "
                f"{count_of(len(self.class_names), 'class', 'classes')}"
            )
        used = set(self.labels)
        unused = [name for label, name in enumerate(self.class_names) if label not in used]
        if unused:
            logger.warning(
                "%s: %d of %s have no images: %s",
                *(", ".join(patterns), len(unused)),
                *(count_of(len(self.class_names), "class", "classes"), listing(unused)),
            )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Returns the content of an image file.

        Raises:
            DataError: it cannot be read, or is truncated.
        """
        member = self._members[index]
        try:
            # Opened each time, because worker processes would share a file handle's position.
            with self._files[member.shard].open("rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
        except OSError as error:
            raise DataError(f"{self.names[index]}: cannot be read: {error.strerror}") from error
        if len(content) < member.size:
            raise DataError(f"{self.names[index]}: the shard is truncated")
        return content

    def open(self, index: int) -> BinaryIO:
        """Returns an image file, to read its header.

        Raises:
            DataError: it cannot be opened.
        """
        member = self._members[index]
        try:
            shard = self._files[member.shard].open("rb")
        except OSError as error:
            raise DataError(f"{self.names[index]}: cannot be read: {error.strerror}") from error
        return cast(BinaryIO, ContainerIO(shard, member.offset, member.size))

    def _index(self, number: int, file: Path) -> None:
        images: dict[str, _Member] = {}
        labels: dict[str, int] = {}
        try:
            size = file.stat().st_size
            with tarfile.open(file, "r:") as archive:
                for entry in archive:
                    if entry.offset_data + entry.size > size:
                        raise DataError(f"{file}: truncated within {entry.name}")
                    key, suffix = _split(entry.name)
                    if entry.isreg() and suffix == LABEL:
                        labels[key] = _label(archive, entry, file)
                    elif entry.isreg() and suffix in SUFFIXES:
                        images[key] = _Member(number, entry.offset_data, entry.size)
                if size < archive.offset + tarfile.BLOCKSIZE:
                    raise DataError(f"{file}: truncated: the end of the archive is missing")
        except OSError as error:
            raise _unreadable(file, error.strerror) from error
        except tarfile.TarError as error:
            raise DataError(f"{file}: not a tar file, or damaged: {error}") from error
        if images.keys() != labels.keys():
            odd = min(images.keys() ^ labels.keys())
            raise DataError(f"{file}: sample {odd} has no {'label' if odd in images else 'image'}")
        for key in images:
            self._members.append(images[key])
            self.names.append(f"{file}/{key}")
            self.labels.append(labels[key])


def shard_files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Returns the files that patterns with braces name.

    Raises:
        ConfigError: webdataset is not installed.
    """
    return [root / name for pattern in patterns for name in _expanded(pattern)]


def check_shard(file: Path) -> None:
    """Raises DataError if there is no such file."""
    if not os.path.isfile(file):
        raise _unreadable(file, os.strerror(errno.ENOENT))


def _unreadable(file: Path, reason: str | None) -> DataError:
    return DataError(
        f"{file}: cannot be read: {reason}; data.train and data.val name tar files below data.root,"
        " not URLs"
    )


def _expanded(pattern: str) -> list[str]:
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        raise ConfigError(
            "data.format shards needs webdataset: pip install 'resnet-backbone[shards]'"
        ) from None
    return list(expand_urls(pattern))


def _split(name: str) -> tuple[str, str]:
    """Splits a name at its first dot: into the sample's key, and the suffix in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, f".{suffix}".lower()


def _label(archive: tarfile.TarFile, entry: tarfile.TarInfo, file: Path) -> int:
    stream = archive.extractfile(entry)
    text = stream.read(20) if stream is not None else b""
    try:
        label = int(text)
    except ValueError:
        label = -1
    if label < 0:
        raise DataError(f"{file}: {entry.name} contains {text!r}, expected a class number")
    return label


def _class_names(root: Path, count: int) -> list[str]:
    file = root / NAMES
    if file.is_file():
        return read_any_text(file).splitlines()
    return [str(number) for number in range(count)]
