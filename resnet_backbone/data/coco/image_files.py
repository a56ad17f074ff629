"""The image files that a folder contains, and the file names that may be opened in it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from resnet_backbone.errors import DataError


class ImageFiles:
    """The regular files below a folder, listed once instead of one file system call per image.

    Args:
        folder: The folder. It may itself be a symbolic link, but links inside must not lead out.

    Raises:
        DataError: there is no such folder, or it cannot be listed.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such image folder; check data.root")
        self.folder = folder
        self._root = folder.resolve()
        try:
            self._files = _regular_files(self._root)
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed: {error}") from error

    def refusal(self, name: object) -> tuple[str, str] | None:
        """Returns why `name` cannot be read, as kind and detail of a defect; None if it can."""
        if not isinstance(name, str) or not _stays_inside(name):
            detail = f"got {name!r}, expected a relative path inside the image folder"
            return "file name leaves the image folder", detail
        if os.path.normpath(name) in self._files:
            return None
        path = self.folder / name
        if not os.path.lexists(path):
            return "missing image file", f"{path} does not exist"
        if path.exists() and not Path(os.path.realpath(path)).is_relative_to(self._root):
            return "file name leaves the image folder", f"{path} is a link to outside the folder"
        if path.is_file():  # below a link to a folder, which the walk does not follow
            return None
        return "missing image file", f"{path} is not a regular file"


def _stays_inside(name: str) -> bool:
    """Returns whether a file name stays inside the image folder, on any operating system."""
    if not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not PureWindowsPath(name).drive


def _regular_files(root: Path) -> set[str]:
    """Returns relative paths; leaves out pipes, for example, since opening one blocks for ever."""
    found: set[str] = set()
    folders = [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(root):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_file():
                found.add(os.path.relpath(entry.path, root))
    return found
