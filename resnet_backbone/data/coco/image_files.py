"""Which image files a folder holds, and which names may be opened in it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from resnet_backbone.errors import DataError


class ImageFiles:
    """The regular files below a folder, listed by one walk instead of a question per image.

    Args:
        folder: May itself be a link; links inside must not lead out of it.

    Raises:
        DataError: there is no such folder, or it cannot be listed.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such image folder; is data.root right?")
        self.folder = folder
        self._root = folder.resolve()
        try:
            self._files = _regular_files(self._root)
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed: {error}") from error

    def refusal(self, name: object) -> tuple[str, str] | None:
        """Returns why `name` cannot be read, as a defect's kind and detail; None where it can."""
        if not isinstance(name, str) or not _stays_inside(name):
            detail = f"got {name!r}, expected a relative path inside the image folder"
            return "file name leaves the image folder", detail
        if os.path.normpath(name) in self._files:
            return None
        path = self.folder / name
        if not os.path.lexists(path):
            return "missing image file", f"{path} does not exist"
        if path.exists() and not Path(os.path.realpath(path)).is_relative_to(self._root):
            return "file name leaves the image folder", f"{path} is a link out of it"
        if path.is_file():  # below a link to a folder, which the walk does not follow
            return None
        return "missing image file", f"{path} is not a regular file"


def _stays_inside(name: str) -> bool:
    """Whether a file name can only mean something below the image folder, on any system."""
    if not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not PureWindowsPath(name).drive


def _regular_files(root: Path) -> set[str]:
    """Returns relative paths; a pipe, say, is left out: to open it would wait for ever."""
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
