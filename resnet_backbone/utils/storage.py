"""Atomic writing of files and folders, and detection of damage.

A folder is written under a temporary name; its files and the folder itself are flushed to disk;
then it is renamed and its parent is flushed. So whenever the machine stops, a folder with its final
name is complete. `MANIFEST.json` in it lists the size and SHA-256 of each file and its own digest,
so that any flipped bit is detected; neither torch's format nor safetensors' would detect it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from resnet_backbone.errors import StorageError

MANIFEST = "MANIFEST.json"
SCHEMA = 1
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,99}")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{32}")

logger = logging.getLogger(__name__)


def commit_folder(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes `files` into a new folder atomically: afterwards all of it is on disk, or nothing.

    Args:
        folder: The folder, which must not exist; its parent must exist.
        files: Names and contents, in the order of writing.

    Raises:
        StorageError: it cannot be written; nothing else has changed.
    """
    temporary = _temporary_beside(folder)
    listed: dict[str, dict[str, object]] = {}
    try:
        temporary.mkdir()
        for name, content in files:
            listed[name] = {"size": len(content), "sha256": _digest(content)}
            _write_flushed(temporary / name, content)
        _write_flushed(temporary / MANIFEST, _manifest({"schema": SCHEMA, "files": listed}))
        flush_folder(temporary)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        _remove_files(temporary, [*listed, MANIFEST])
        raise StorageError(f"{folder}: cannot be written: {_reason(error)}") from error


def read_folder(folder: Path) -> dict[str, bytes]:
    """Returns the name and content of each file in a committed folder.

    Every file is read only once, so the returned content is what was verified.

    Raises:
        StorageError: a file is missing, unreadable or damaged.
    """
    try:
        listed = _read_manifest(folder / MANIFEST)
        files = {name: read_regular(folder / name) for name in listed}
    except OSError as error:
        raise StorageError(f"{folder}: {error}") from error
    for name, content in files.items():
        if listed[name] != {"size": len(content), "sha256": _digest(content)}:
            raise StorageError(f"{folder / name}: damaged; its content is not what was written")
    return files


def remove_folder(folder: Path, names: Collection[str]) -> bool:
    """Removes a committed folder, unless it contains files other than `names`.

    Returns:
        Whether it was removed.
    """
    foreign = sorted({path.name for path in folder.iterdir()} - {*names, MANIFEST})
    if folder.is_symlink() or foreign:
        logger.warning("%s is kept, since it contains files we did not write: %s", folder, foreign)
        return False
    temporary = _temporary_beside(folder)
    # Renamed first, so that an interruption does not leave a folder that looks damaged.
    folder.rename(temporary)
    return _remove_files(temporary, [*names, MANIFEST])


def remove_stale(parent: Path, names: Collection[str]) -> None:
    """Removes temporary folders in `parent` that interrupted commits and removals left."""
    for path in parent.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            if _remove_files(path, [*names, MANIFEST]):
                logger.info("removed %s, left by an interrupted run", path)


def write_file(path: Path, content: bytes) -> None:
    """Replaces a file atomically: whatever happens, its content is either the old or the new one.

    Raises:
        StorageError: it cannot be written; the old file has not changed.
    """
    temporary = _temporary_beside(path)
    try:
        _write_flushed(temporary, content)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            logger.warning("temporary file %s could not be removed", temporary)
        raise StorageError(f"{path}: cannot be written: {_reason(error)}") from error


def write_json(path: Path, content: object) -> None:
    """Replaces a file atomically with `content` as JSON, see `write_file`."""
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def read_regular(path: Path) -> bytes:
    """Returns the content of a file; refuses what is no regular file, since a pipe would block.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()


def make_folder(folder: Path) -> list[Path]:
    """Creates a folder and its parents, and flushes them to disk.

    Returns:
        The folders that were created, parents first.

    Raises:
        StorageError: a folder cannot be created.
    """
    created = []
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(exist_ok=True)
            created.append(missing)
            flush_folder(missing.parent)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {_reason(error)}") from error
    return created


def probe(folder: Path) -> None:
    """Tries what saving needs, before hours of work are spent.

    Raises:
        StorageError: files cannot be written or renamed in `folder`.
    """
    temporary, moved = _temporary_beside(folder / "probe"), _temporary_beside(folder / "probe")
    try:
        try:
            _write_flushed(temporary, b"probe")
            temporary.rename(moved)
        finally:
            temporary.unlink(missing_ok=True)
            moved.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {_reason(error)}") from error


def sweep(folder: Path) -> None:
    """Removes temporary files that killed processes left; no process may be writing here.

    Raises:
        StorageError: they cannot be removed.
    """
    try:
        stale = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]
        for path in stale:
            if path.is_file() and not path.is_symlink():
                path.unlink()
                logger.info("removed %s, left by an interrupted process", path)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be cleared: {_reason(error)}") from error


def flush_folder(folder: Path) -> None:
    """Waits until the entries of a folder are on disk."""
    if os.name != "posix":  # other systems cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    """Returns the reason without the name of a temporary file, which means nothing to users."""
    return error.strerror or str(error)


def _temporary_beside(path: Path) -> Path:
    return path.parent / f".tmp-{uuid.uuid4().hex}"


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove_files(folder: Path, names: Iterable[str]) -> bool:
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        logger.warning("temporary folder %s could not be removed: %s", folder, error)
        return False
    return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _manifest(body: dict[str, Any]) -> bytes:
    return _canonical(body | {"sha256": _digest(_canonical(body))})


def _read_manifest(path: Path) -> dict[str, dict[str, object]]:
    content = read_regular(path)
    try:
        body = json.loads(content)
        del body["sha256"]
        intact = content == _manifest(body)
    except (ValueError, TypeError, KeyError, RecursionError):
        intact = False
    if not intact:
        raise StorageError(f"{path}: damaged; its content is not what was written")
    if body.get("schema") != SCHEMA:
        raise StorageError(f"{path}: schema {body.get('schema')}, expected {SCHEMA}")
    files = body.get("files")
    # The digest shows that the file is whole, not who wrote it.
    if not isinstance(files, dict) or not all(_PLAIN_NAME.fullmatch(name) for name in files):
        raise StorageError(f"{path}: expected the names of files in this folder")
    return files
