"""The list of our own files in an output folder; no others are ever replaced or removed there.

A name is put on the list before its file is written. So what is not on the list belongs to somebody
else, whenever a process was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from resnet_backbone.errors import StorageError
from resnet_backbone.utils import storage
from resnet_backbone.utils.text import listing

LIST = ".resnet_backbone.json"

Writer = Literal["run", "evaluation", "prediction", "drawing"]


class OwnFiles:
    """The files in an output folder that one kind of command wrote.

    All names are relative to the folder, with "/" between their parts.

    Args:
        folder: The output folder.
        writer: The kind of command; files of another kind are not its own.
    """

    def __init__(self, folder: Path, writer: Writer) -> None:
        self.folder = folder
        self.writer = writer

    def listed(self) -> set[str]:
        """Returns the names on the list, whether the files exist or not.

        Raises:
            StorageError: the list cannot be read.
        """
        return _read(self.folder).get(self.writer, set())

    def present(self) -> list[str]:
        """Returns the names on the list that exist, sorted."""
        return sorted(name for name in self.listed() if os.path.lexists(self.folder / name))

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Returns those of `names` that exist, but not as files of ours.

        A name that ends in "/" is that of a folder, which may be anyone's, but must be a folder.
        """
        own = self.listed()
        return [name.rstrip("/") for name in names if self._is_foreign(name, own)]

    def check(self, names: Iterable[str]) -> None:
        """Raises StorageError if one of `names` exists, but not as a file of ours."""
        if foreign := self.foreign(names):
            raise StorageError(
                f"{self.folder}: contains {listing(foreign)}, which this {self.writer} would"
                f" replace, but which no earlier {self.writer} wrote ({LIST} lists what was"
                " written); move it away, or choose another folder"
            )

    def claim(self, names: Iterable[str]) -> None:
        """Checks `names` and puts them on the list; call it before the files are written.

        Raises:
            StorageError: one of them exists, but not as a file of ours, or the list cannot be
                written.
        """
        names = list(names)
        self.check(names)
        self.adopt(names)

    def adopt(self, names: Iterable[str]) -> None:
        """Puts `names` on the list without checking whether others wrote them."""
        written = _read(self.folder)
        own = written.get(self.writer, set())
        if new := set(names) - own:
            others = {writer: files - new for writer, files in written.items()}
            _write(self.folder, others | {self.writer: own | new})

    def free_names(self, names: Iterable[str], reserved: Collection[str] = ()) -> list[str]:
        """Returns `names`, with a number where others have a file of that name.

        Args:
            names: The wanted names; equal ones are told apart too.
            reserved: Names that are not free.
        """
        own, free = self.listed(), dict.fromkeys(reserved)
        for name in names:
            path, number, candidate = PurePosixPath(name), 1, name
            while candidate in free or self._is_foreign(candidate, own):
                number += 1
                candidate = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
            free[candidate] = None
        return list(free)[len(set(reserved)) :]

    def forget_absent(self) -> None:
        """Takes names off the list whose files were not written."""
        _write(self.folder, _read(self.folder) | {self.writer: set(self.present())})

    def remove(self, below: str = "") -> None:
        """Removes our files, and folders that are empty then; everything else is kept.

        Args:
            below: A folder, to remove only files in it.

        Raises:
            StorageError: a file cannot be removed.
        """
        listed = self.listed()
        names = {name for name in listed if not below or name.startswith(f"{below}/")}
        try:
            for name in sorted(names):
                path = self.folder / name
                if self._is_inside(path) and (path.is_symlink() or not path.is_dir()):
                    path.unlink(missing_ok=True)
            for parent in sorted({p for name in names for p in PurePosixPath(name).parents})[::-1]:
                self._remove_empty(self.folder / parent)
            if names:
                _write(self.folder, _read(self.folder) | {self.writer: listed - names})
        except OSError as error:
            raise StorageError(
                f"{self.folder}: cannot remove the {self.writer}: {error}"
            ) from error

    def _is_foreign(self, name: str, own: Collection[str]) -> bool:
        path = self.folder / name
        good = path.is_dir() if name.endswith("/") else name in own and path.is_file()
        return os.path.lexists(path) and not good

    def _is_inside(self, path: Path) -> bool:
        """Whether `path` is not, through a link, in another folder."""
        parent = Path(os.path.realpath(path.parent))
        return parent.is_relative_to(os.path.realpath(self.folder))

    def _remove_empty(self, folder: Path) -> None:
        if folder == self.folder or folder.is_symlink() or not folder.is_dir():
            return
        if not any(folder.iterdir()):
            folder.rmdir()


def listed_files(folder: Path) -> set[str]:
    """Returns the names on a folder's list, whoever wrote them; none if it cannot be read."""
    try:
        return set().union(*_read(folder).values())
    except StorageError:
        return set()


def _read(folder: Path) -> dict[str, set[str]]:
    """Returns the files on the list by writer."""
    path = folder / LIST
    if not os.path.lexists(path):
        return {}
    try:
        content = json.loads(storage.read_regular(path))
        # A list that comes from elsewhere may contain anything.
        return {
            str(writer): {name for name in names if _is_relative(name)}
            for writer, names in content.items()
        }
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"{path}: damaged; remove the folder's content by hand, or choose another folder"
        ) from error


def _write(folder: Path, written: Mapping[str, set[str]]) -> None:
    content = {writer: sorted(names) for writer, names in written.items() if names}
    if content:
        storage.write_json(folder / LIST, content)
    else:
        (folder / LIST).unlink(missing_ok=True)


def _is_relative(name: str) -> bool:
    """Whether a name stays inside the folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
