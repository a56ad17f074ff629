"""The image files that a folder contains, and the file names that may be opened in it."""

from __future__ import annotations

import os
import unicodedata
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote, urlsplit

from resnet_backbone.data.loading.folders import Walk
from resnet_backbone.errors import DataError


class UnusableName(ValueError):
    """A file name that cannot be opened; holds the kind and the detail of the defect."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


def check_folder(folder: Path) -> None:
    """Raises DataError if there is no such folder."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such image folder; check data.root")


class ImageFiles:
    """The regular files below a folder, listed once instead of one file system call per image.

    Args:
        folder: The folder. It may itself be a symbolic link, but links inside must not lead out.

    Raises:
        DataError: there is no such folder, or it cannot be listed.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self.folder = folder
        self._root = folder.resolve()
        walk = Walk(str(self._root))
        self._files = {
            os.path.relpath(entry.path, self._root)
            for entry in walk.files()
            if not entry.is_symlink() or self._is_inside(entry.path)
        }
        self._unreadable = {
            os.path.relpath(path, self._root): why for path, why in walk.unreadable.items()
        }
        if "." in self._unreadable:
            raise DataError(f"{folder}: cannot be listed: {self._unreadable['.']}")

    def find(self, name: object) -> str:
        """Returns the path of an image relative to the folder.

        It may be spelled as on another system: with backslashes, with accents composed (NFC) where
        the file's are not (NFD) or the reverse, or as an absolute path into the folder.

        Raises:
            UnusableName: there is no such file, or it must not be opened.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            detail = f"got {name!r:.80}, expected a path relative to the image folder"
            raise UnusableName("bad file name", detail)
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            relative = self._relative(spelling)
            if relative in self._files or (relative and self._is_behind_a_link(relative)):
                return relative
            if relative and (composed := self._composed.get(_compose(relative))):
                return composed
        raise self._refusal(name)

    def find_by_url(self, url: str) -> str:
        """Returns the path of an image relative to the folder, by the last parts of its URL.

        LVIS, whose splits mix images of train2017 and val2017, has no other name for them.

        Raises:
            UnusableName: there is no such file.
        """
        *_, parent, last = ("", "", *unquote(urlsplit(url).path).split("/"))
        if parent and f"{parent}/{last}" in self._files:
            return f"{parent}/{last}"
        return self.find(last)

    def _relative(self, name: str) -> str | None:
        """Returns a path that stays in the folder, on any operating system; None for others."""
        if os.path.isabs(name):
            for root in (os.path.abspath(self.folder), self._root):
                if Path(os.path.normpath(name)).is_relative_to(root):
                    return os.path.relpath(name, root)
            return None
        path = os.path.normpath(name)
        outside = path.split(os.sep)[0] == ".." or PureWindowsPath(name).drive or name[0] == "\\"
        return None if outside else path

    def _is_inside(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._root)

    def _is_behind_a_link(self, relative: str) -> bool:
        """Returns whether a path leads to a file through a linked folder, which no walk enters."""
        path = os.path.join(self.folder, relative)
        return os.path.isfile(path) and self._is_inside(path)

    @cached_property
    def _composed(self) -> dict[str, str]:
        return {_compose(path): path for path in self._files}

    @cached_property
    def _by_last_part(self) -> dict[str, str]:
        return {_loose(path): path for path in sorted(self._files, reverse=True)}

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        return {_loose_stem(path): path for path in sorted(self._files, reverse=True)}

    def _refusal(self, name: str) -> UnusableName:
        relative = self._relative(name.replace("\\", "/"))
        if relative is None and (os.path.isabs(name) or PureWindowsPath(name).is_absolute()):
            detail = f"got {name!r}, expected a path relative to {self.folder}{self._hint(name)}"
            return UnusableName("file name is an absolute path", detail)
        if relative is None:
            detail = f"got {name!r}, expected a relative path inside the image folder"
            return UnusableName("file name leaves the image folder", detail)
        path = self.folder / relative
        if os.path.exists(path) and not self._is_inside(str(path)):
            detail = (
                f"{path} is a link to outside the folder, {os.path.realpath(path)}; let data.train "
                "and data.val name the folder that holds the files, or copy them here"
            )
            return UnusableName("link out of the image folder", detail)
        return UnusableName("missing image file", f"{path} {self._what_is_there(relative)}")

    def _what_is_there(self, relative: str) -> str:
        path = os.path.join(self.folder, relative)
        for folder, why in self._unreadable.items():
            if Path(relative).is_relative_to(folder):
                return f"cannot be looked for: {self.folder / folder}: {why}"
        if os.path.isdir(path):
            return "is a folder"
        if os.path.exists(path):
            return "is not a regular file"
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which does not exist"
        return f"does not exist{self._hint(relative)}"

    def _hint(self, name: str) -> str:
        """Names the file that may be meant, and in what its name differs."""
        found = self._by_last_part.get(_loose(name)) or self._by_stem.get(_loose_stem(name))
        if not found:
            return ""
        return f"; did you mean {self.folder / found}?{_difference(name, found)}"


def _compose(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _loose(path: str) -> str:
    """Returns what names are compared by that may mean the same: "%20" is a space in URLs."""
    return unquote(_compose(_last_part(path))).strip().casefold()


def _loose_stem(path: str) -> str:
    return os.path.splitext(_loose(path))[0]


def _difference(name: str, found: str) -> str:
    """Says in what names differ that look alike; "" for other folders, which can be seen."""
    one, other = _compose(_last_part(name)), _compose(_last_part(found))
    if one == other:
        return ""
    if one.casefold() == other.casefold():
        return " It differs in upper and lower case"
    if one.strip() == other.strip():
        return " It differs in spaces at its beginning or end"
    return ""
