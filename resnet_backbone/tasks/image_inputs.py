"""Which images the arguments of tools/predict.py mean: files, and folders of them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from resnet_backbone.data.loading.decoding import SUFFIXES
from resnet_backbone.data.loading.folders import Walk, is_hidden
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

    Folders are searched recursively, through links too. Pictures that we drew, hidden files (such
    as macOS's `._a.jpg`) and files with another suffix are left out, and counted in the log.

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
    root: Path, drawn: set[str], left_out: Counter[str], failures: list[str]
) -> Iterator[Path]:
    """Yields the images below `root`; counts other files by kind, and adds unreadable folders."""
    walk = Walk(str(root), follow=True, hidden=False)
    found = [entry.path for entry in walk.files()]

    @cache
    def drawn_by(folder: Path) -> set[str]:
        """What the lists in a folder and in those above it, up to `root`, name."""
        return _drawn_in(folder) | (drawn if folder == root else drawn_by(folder.parent))

    for path in map(Path, [*found, *walk.absent, *walk.special]):  # reading says what is wrong
        if kind := _kind_left_out(path, drawn_by(path.parent)):
            left_out[kind] += 1
        else:
            yield path
    left_out["hidden"] += len(walk.passed_over)
    left_out += Counter()  # removes zeros
    for folder, reason in walk.unreadable.items():
        failures.append(f"{folder}: this folder cannot be read: {reason}")


def _kind_left_out(path: Path, drawn: set[str]) -> str | None:
    if is_hidden(path.name):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return path.suffix.lower() or "without suffix"
    return "drawn by us" if os.path.realpath(path) in drawn else None


def _drawn_in(folder: Path) -> set[str]:
    """Returns the files in a folder that this package wrote."""
    return {os.path.realpath(folder / name) for name in listed_files(folder)}
