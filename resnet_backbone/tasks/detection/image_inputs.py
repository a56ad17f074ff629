"""Which images the arguments of tools/predict.py mean: files, and folders of them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resnet_backbone.data.loading.decoding import SUFFIXES
from resnet_backbone.utils.own_files import listed_files
from resnet_backbone.utils.text import count_of

logger = logging.getLogger(__name__)


@dataclass
class Inputs:
    """The images that were found.

    Attributes:
        files: Each image once, folders in order of file names.
        failures: One line for each folder that cannot be used.
    """

    files: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def find_images(arguments: Iterable[Path], output: Path) -> Inputs:
    """Returns the files that are named and the images in the folders that are named.

    Folders are searched recursively. Pictures that we drew, hidden files (such as macOS's
    `._a.jpg`) and files with another suffix are left out there, and counted in the log.

    Args:
        arguments: Image files, and folders.
        output: The folder for pictures; those drawn there before are left out.
    """
    inputs = Inputs()
    files: dict[Path, None] = {}
    for path in arguments:
        if not path.is_dir():
            files[path] = None
            continue
        left_out: Counter[str] = Counter()
        below = sorted(_search(path, _drawn_in(output), left_out, inputs.failures))
        files |= dict.fromkeys(below)
        if left_out:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
            logger.info("%s: %s; left out: %s", path, count_of(len(below), "image"), counts)
        if not below:
            inputs.failures.append(f"{path}: this folder contains no image")
    inputs.files = list(files)
    return inputs


def _search(
    root: Path, drawn: set[Path], left_out: Counter[str], failures: list[str]
) -> Iterator[Path]:
    """Yields the images below `root`; counts other files by kind, and adds unreadable folders."""

    def fail(error: OSError) -> None:
        failures.append(f"{error.filename}: this folder cannot be read: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=fail):
        left_out["hidden"] += sum(_is_hidden(name) for name in folders)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        drawn = drawn | _drawn_in(Path(folder))
        for name in names:
            path = Path(folder, name)
            if kind := _kind_left_out(path, drawn):
                left_out[kind] += 1
            else:
                yield path
    left_out += Counter()  # removes zeros


def _kind_left_out(path: Path, drawn: set[Path]) -> str | None:
    if _is_hidden(path.name):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return path.suffix.lower() or "without suffix"
    return "drawn by us" if path.resolve() in drawn else None


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _drawn_in(folder: Path) -> set[Path]:
    """Returns the files in a folder that this package wrote."""
    return {(folder / name).resolve() for name in listed_files(folder)}
