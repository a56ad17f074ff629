"""Labelled image files: in class folders, or in one folder with a list of labels."""

from __future__ import annotations

import csv
import errno
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import BinaryIO

from resnet_backbone.data.loading.decoding import SUFFIXES
from resnet_backbone.data.loading.folders import Walk, is_file, is_folder, is_hidden, leads_nowhere
from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of, listing, read_any_text

SHOWN = 3  # number of names in a message
FLAT_TRAINING = "data.train needs a folder for each class, with its images inside"
FLAT_TESTING = "set data.val_labels to a file with their classes"
# Names of a dataset's splits, which are no names of classes.
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "images"})

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
        left_out: Counter[str] = Counter()
        flat = FLAT_TRAINING if class_names is None else FLAT_TESTING
        pairs = [pair for source in sources for pair in _pairs(source, known, flat, left_out)]
        where = ", ".join(map(str, sources))
        if not pairs:
            raise DataError(f"{where}: no images ({', '.join(SUFFIXES)}) in class folders")
        if known is not None:
            _warn_of_absent(known.keys() - {_stem(file) for file, _ in pairs}, where)
        self.class_names = checked_classes({name for _, name in pairs}, class_names, where)
        numbers = {name: label for label, name in enumerate(self.class_names)}
        self.names = [file for file, _ in pairs]
        self.labels = [numbers[name] for _, name in pairs]
        say_what_was_found(where, len(self.names), len(self.class_names), left_out)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Returns the content of an image file.

        Raises:
            DataError: it cannot be read.
        """
        with self.open(index) as file:
            return file.read()

    def open(self, index: int) -> BinaryIO:
        """Returns an image file, to read its header.

        Raises:
            DataError: it cannot be opened.
        """
        try:
            return open(self.names[index], "rb")
        except OSError as error:
            raise DataError(f"{self.names[index]}: cannot be read: {error.strerror}") from error


def check_class_folders(source: Path) -> None:
    """Raises DataError if there is no such folder."""
    if not os.path.isdir(source):
        raise DataError(
            f"{source}: no such folder; data.train and data.val name folders below data.root "
            "(with data.hold_out, data.val is not needed)"
        )


def check_labels(file: Path) -> None:
    """Raises DataError if there is no such file."""
    if not os.path.isfile(file):
        raise _unreadable_labels(file, os.strerror(errno.ENOENT))


def _unreadable_labels(file: Path, reason: object) -> DataError:
    return DataError(f"{file}: cannot read the labels: {reason}; check data.val_labels")


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


def say_what_was_found(where: str, images: int, classes: int, left_out: Mapping[str, int]) -> None:
    """Logs the numbers of images and classes, and what was left out, by kind."""
    found = f"{count_of(images, 'image')}, {count_of(classes, 'class', 'classes')}"
    if left_out:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(left_out.items()))
        logger.warning("%s: %s; left out %s", where, found, kinds)
    else:
        logger.info("%s: %s", where, found)


def is_image(name: str) -> bool:
    """Returns whether a file is an image; excludes the "._name" files that macOS creates."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def kind_of(name: str) -> str:
    """Returns what a file that is no image is called in the count of those."""
    suffix = os.path.splitext(name)[1].lower()
    return "hidden file" if is_hidden(name) else f"{suffix or 'no suffix'} file"


def _pairs(
    source: Path, known: Mapping[str, str] | None, flat: str, left_out: Counter[str]
) -> list[tuple[str, str]]:
    """Returns (file, class) of each image, sorted; counts what is left out, by kind."""
    check_class_folders(source)
    folders, files = _entries(source)
    if known is not None:
        return _labelled(source, _sorted_out(files, left_out), known)
    loose = _sorted_out(files, left_out)
    if not folders and loose:
        raise DataError(f"{source}: contains images but no class folders; {flat}")
    found: list[tuple[str, str]] = []
    empty = []
    for folder in folders:
        name = os.path.basename(folder)
        if is_hidden(name):
            left_out["hidden folder"] += 1
            continue
        images = _images(folder, left_out)
        found += [(file, unicodedata.normalize("NFC", name)) for file in images]
        if not images:
            empty.append(name)
    classes = {name for _, name in found}
    if classes and {name.lower() for name in classes} <= SPLITS:
        raise DataError(
            f"{source}: the classes would be {listing(sorted(classes), SHOWN)}; are the class "
            "folders one level deeper? data.train and data.val name the folders that hold them"
        )
    if empty:
        raise DataError(
            f"{source}: {count_of(len(empty), 'class folder')} without images: "
            f"{listing(empty, SHOWN)}"
        )
    if loose:
        left_out["image outside of the class folders"] += len(loose)
    return found


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the folders and the files in a folder, sorted."""
    try:
        with os.scandir(folder) as listing_:
            entries = sorted(listing_, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    folders = [entry.path for entry in entries if is_folder(entry)]
    # A link that leads nowhere is an image that cannot be read, not one that may be left out.
    files = [entry.path for entry in entries if is_file(entry) or leads_nowhere(entry)]
    return folders, files


def _images(folder: str, left_out: Counter[str]) -> list[str]:
    """Returns the images below a class folder, in torchvision's order."""
    walk = Walk(folder, follow=True, hidden=False)
    files = [entry.path for entry in walk.files()] + walk.absent
    for path, reason in walk.unreadable.items():
        raise DataError(f"{path}: cannot be listed: {reason}; its images would be missing")
    if walk.passed_over:
        left_out["hidden folder"] += len(walk.passed_over)
    return sorted(_sorted_out(files, left_out), key=os.path.split)


def _sorted_out(files: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Returns the images among files; counts the others."""
    images = []
    for file in files:
        name = os.path.basename(file)
        if is_image(name):
            images.append(file)
        else:
            left_out[kind_of(name)] += 1
    return images


def _labelled(
    folder: Path, files: Sequence[str], known: Mapping[str, str]
) -> list[tuple[str, str]]:
    unknown = [file for file in files if _stem(file) not in known]
    if unknown:
        raise DataError(
            f"{folder}: data.val_labels has no label for {len(unknown)} of "
            f"{count_of(len(files), 'image')}: "
            f"{listing([os.path.basename(file) for file in unknown], SHOWN)}"
        )
    return [(file, known[_stem(file)]) for file in files]


def _read_labels(file: Path) -> dict[str, str]:
    """Returns the class name of each image, by file name without suffix."""
    try:
        text = read_any_text(file)
    except (OSError, UnicodeError) as error:
        raise _unreadable_labels(file, getattr(error, "strerror", None) or error) from error
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
            "%s: %s of data.val_labels, but no such file: %s",
            *(where, count_of(len(stems), "image"), listing(sorted(stems), SHOWN)),
        )


def _stem(name: str) -> str:
    """Returns what a label refers to an image by, however its accents and its path are written."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", os.path.splitext(base)[0])
