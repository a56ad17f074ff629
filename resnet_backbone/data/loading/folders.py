"""Walks folders of images; links that lead nowhere and unreadable folders do not stop it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of

SHOWN = 10  # missing files in a message

# Folders that systems and editors put beside images; "lost+found" only root may read.
NOT_DATA = frozenset({"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"})


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden, or is one that systems add to folders."""
    return name.startswith(".") or name in NOT_DATA


def check_all(checks: Iterable[Callable[[], None]]) -> None:
    """Calls all checks.

    Raises:
        DataError: some of them raised it; the message has a line for each.
    """
    failures = []
    for check in checks:
        try:
            check()
        except DataError as error:
            failures.append(str(error))
    if failures:
        more = len(failures) - SHOWN
        rest = [f"and {count_of(more, 'more file')}"] if more > 0 else []
        raise DataError("\n".join([*failures[:SHOWN], *rest]))


@dataclass
class Walk:
    """A recursive walk over the files below a folder.

    Args:
        root: The folder.
        follow: Whether to enter links to folders, but never to one that they lie in, so that links
            in a circle end.
        hidden: Whether to enter hidden folders.

    Attributes:
        unreadable: Why a folder could not be listed, by its path.
        passed_over: The hidden folders that were not entered.
        absent: The links that lead nowhere, or in a circle.
        special: The pipes, sockets and devices.
    """

    root: str
    follow: bool = False
    hidden: bool = True
    unreadable: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def files(self) -> Iterator[os.DirEntry[str]]:
        """Yields the regular files, and links to them, sorted within each folder."""
        real = PurePath(os.path.realpath(self.root))
        yield from self._below(self.root, tuple(map(str, (real, *real.parents))))

    def _below(self, folder: str, above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable[folder] = error.strerror or str(error)
            return
        for entry in entries:
            if is_folder(entry, follow=self.follow):
                real = os.path.realpath(entry.path)
                if not self.hidden and is_hidden(entry.name):
                    self.passed_over.append(entry.path)
                elif real not in above:
                    yield from self._below(entry.path, (*above, real))
            elif is_file(entry):
                yield entry
            elif leads_nowhere(entry):
                self.absent.append(entry.path)
            elif not is_folder(entry):
                self.special.append(entry.path)


def is_folder(entry: os.DirEntry[str], *, follow: bool = True) -> bool:
    """Returns whether an entry is a folder; False for a link that leads nowhere or in a circle."""
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a regular file, or a link to one; False where none can tell.

    Pipes are none: opening one blocks for ever.
    """
    try:
        return entry.is_file()
    except OSError:
        return False


def leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a link to nothing, or in a circle: a file that is missing."""
    return entry.is_symlink() and not os.path.exists(entry.path)
