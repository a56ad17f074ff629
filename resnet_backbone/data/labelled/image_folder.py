"""Labelled image files: in class folders, or in one folder with a list of labels."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import listing

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
SHOWN = 3  # number of names in a message

logger = logging.getLogger(__name__)


class ImageFolder:
    """The image files of a split and their labels; images are read only on request.

    Args:
        sources: Folders that contain class folders (`train/n01440764/*.JPEG`); they are combined.
        class_names: The expected name of each class. None takes the sorted names of the folders, as
            torchvision's ImageFolder does.
        labels: For folders without class folders: a file with one line "NAME CLASS" per image, or
            Kaggle's LOC_val_solution.csv.

    Attributes:
        class_names: The name of each class.
        names: The path of each image.
        labels: The label of each image.

    Raises:
        DataError: a folder is missing, a class has no images, or the classes are not as expected.
    """

    def __init__(
        self,
        sources: Sequence[Path],
        *,
        class_names: Sequence[str] | None = None,
        labels: Path | None = None,
    ) -> None:
        known = None if labels is None else _read_labels(labels)
        pairs = [pair for source in sources for pair in _pairs(source, known)]
        where = ", ".join(map(str, sources))
        if not pairs:
            raise DataError(f"{where}: no images ({', '.join(SUFFIXES)}) in class folders")
        if known is not None:
            _warn_of_absent(known.keys() - {_stem(file) for file, _ in pairs}, where)
        self.class_names = checked_classes({name for _, name in pairs}, class_names, where)
        numbers = {name: label for label, name in enumerate(self.class_names)}
        self.names = [file for file, _ in pairs]
        self.labels = [numbers[name] for _, name in pairs]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Returns the content of an image file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with open(self.names[index], "rb") as file:
                return file.read()
        except OSError as error:
            raise DataError(f"{self.names[index]}: cannot be read: {error.strerror}") from error


def checked_classes(found: set[str], expected: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Returns the name of each class.

    Raises:
        DataError: they are not the expected classes; the message names the first missing and the
            first unknown ones.
    """
    if expected is None:
        return tuple(sorted(found))
    if found != set(expected):
        missing, unknown = sorted(set(expected) - found), sorted(found - set(expected))
        counts = [
            f"{len(names)} {kind} ({listing(names, SHOWN)})"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise DataError(
            f"{where}: the classes differ from those of the training images: {', '.join(counts)}; "
            "both splits need the same classes"
        )
    return tuple(expected)


def _pairs(source: Path, known: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Returns (file, class) of each image, sorted."""
    if not source.is_dir():
        raise DataError(
            f"{source}: no such folder; data.train and data.val name folders below data.root "
            "(with data.hold_out, data.val is not needed)"
        )
    if known is not None:
        return _labelled(source, known)
    folders = sorted(entry.path for entry in os.scandir(source) if entry.is_dir())
    if not folders and any(_images(str(source))):
        raise DataError(
            f"{source}: contains images but no class folders; set data.val_labels to a file with "
            "their classes"
        )
    found, empty = [], []
    for folder in folders:
        files = sorted(_images(folder))
        found += [(file, os.path.basename(folder)) for file in files]
        if not files:
            empty.append(os.path.basename(folder))
    if empty:
        deeper = "; are the class folders one level deeper?" if not found else ""
        raise DataError(
            f"{source}: {len(empty)} class folders without images: {listing(empty, SHOWN)}{deeper}"
        )
    return found


def _images(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if is_image(entry.name):
            yield entry.path


def is_image(name: str) -> bool:
    """Returns whether a file is an image; excludes the "._name" files that macOS creates."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _labelled(folder: Path, known: Mapping[str, str]) -> list[tuple[str, str]]:
    files = sorted(_images(str(folder)))
    unknown = [file for file in files if _stem(file) not in known]
    if unknown:
        raise DataError(
            f"{folder}: data.val_labels has no label for {len(unknown)} of {len(files)} images: "
            f"{listing([os.path.basename(file) for file in unknown], SHOWN)}"
        )
    return [(file, known[_stem(file)]) for file in files]


def _read_labels(file: Path) -> dict[str, str]:
    """Returns the class name of each image, by file name without suffix."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot read the labels: {error}") from error
    classes: dict[str, str] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), 1):
        words = " ".join(line).split()
        if not words or words[:2] == ["ImageId", "PredictionString"]:
            continue
        if len(words) < 2:
            raise DataError(
                f"{file}, line {number}: found {words[0]!r}, expected a name and a class"
            )
        stem, name = _stem(words[0]), words[1]  # in Kaggle's file, boxes follow
        if classes.setdefault(stem, name) != name:
            raise DataError(
                f"{file}, line {number}: {stem} is {name}, but an earlier line says {classes[stem]}"
            )
    return classes


def _warn_of_absent(stems: Set[str], where: str) -> None:
    if stems:
        logger.warning(
            "%s: %d images of data.val_labels do not exist: %s",
            *(where, len(stems), listing(sorted(stems), SHOWN)),
        )


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
