"""Locks an output folder, so that it is used by one process at a time."""

from __future__ import annotations

import errno
import logging
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from resnet_backbone.errors import StorageError
from resnet_backbone.utils import storage
from resnet_backbone.utils.own_files import OwnFiles, Writer

try:
    import fcntl
except ImportError:  # on Windows, where the folder is not locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".resnet_backbone.lock"

# The answers of file systems without locks, such as Lustre or NFS mounted without them.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

logger = logging.getLogger(__name__)

_held: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Creates a folder if necessary, and locks it against other processes inside the block.

    Where the file system has no locks, a warning says so, and nothing keeps others out.

    What killed processes left in the folder is removed first. If nothing was written inside the
    block, the folders that were created are removed afterwards.

    Raises:
        StorageError: the folder cannot be written, or another process uses it.
    """
    created = storage.make_folder(folder)
    try:
        with _lock(folder):
            storage.probe(folder)
            storage.sweep(folder)
            yield
    finally:
        for path in reversed(created):
            with suppress(OSError):  # not empty
                path.rmdir()


@contextmanager
def output_folder(folder: Path, writer: Writer, names: Iterable[str]) -> Iterator[OwnFiles]:
    """Locks a folder in which `names` are to be written, and checks that no others wrote them.

    Raises:
        StorageError: the folder cannot be written or is in use, or contains others' files of these
            names.
    """
    with locked(folder):
        own = OwnFiles(folder, writer)
        own.check(names)
        yield own


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    path = folder / LOCK
    try:
        file = _acquire(path)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error}") from error
    with file:
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            with suppress(OSError):  # the folder may have been deleted
                path.unlink()  # while it is locked: see `_acquire`


def _acquire(path: Path) -> IO[bytes]:
    """Returns the open lock file; the operating system unlocks it however the process ends."""
    while True:
        if os.path.lexists(path) and not path.is_file():
            raise StorageError(f"{path}: not a regular file; remove it")
        file = path.open("ab")
        try:
            if not _flock(file) or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            file.close()
            raise StorageError(f"{path.parent}: another process is using this folder") from error
        except OSError:
            file.close()
            raise
        # The process that had locked this file removed it after we opened it.
        file.close()


def _flock(file: IO[bytes]) -> bool:
    """Locks the file, and returns whether that is possible here.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be locked, although the file system has locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(
            "%s: the file system cannot lock files (%s); make sure yourself that no other process"
            " uses this folder",
            *(Path(file.name).parent, error.strerror),
        )
        return False
    return True


def _release_in_child() -> None:
    """Worker processes would inherit the lock, and keep it for seconds if we are killed."""
    for file in list(_held):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
