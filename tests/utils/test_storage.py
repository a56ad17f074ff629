import errno
import json
import os
import resource
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resnet_backbone.errors import StorageError
from resnet_backbone.utils import storage

FILES = {"a.bin": bytes(range(256)) * 4, "b.json": b'{"x": 1}', "empty": b""}


def commit(folder, files=FILES):
    storage.commit_folder(folder, iter(files.items()))


def test_what_was_committed_is_read_back(tmp_path):
    commit(tmp_path / "x")
    assert storage.read_folder(tmp_path / "x") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_every_flipped_bit_is_noticed(tmp_path):
    folder = tmp_path / "x"
    commit(folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            with pytest.raises(StorageError, match=path.name if path.suffix else ""):
                storage.read_folder(folder)
        path.write_bytes(content)
    assert storage.read_folder(folder) == FILES


@pytest.mark.parametrize("name", [*FILES, storage.MANIFEST])
def test_missing_truncated_and_longer_files_are_noticed(tmp_path, name):
    path = tmp_path / "x" / name
    commit(path.parent)
    content = path.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        content[:-1],
        content + b"\0",
        bytes(len(content)),
    ):
        path.write_bytes(damaged)
        if damaged != content:
            with pytest.raises(StorageError, match=name):
                storage.read_folder(path.parent)
    path.unlink()
    with pytest.raises(StorageError, match=name):
        storage.read_folder(path.parent)


def test_a_manifest_of_another_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA", 99)
    commit(tmp_path / "x")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="schema 99, expected 1"):
        storage.read_folder(tmp_path / "x")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": None},
        {"schema": [1]},
        {"files": None},
        {"files": ["a"]},
        {"files": {"../x/a": {"size": 1, "sha256": "0"}}},
        {"files": {"/etc/hostname": {"size": 1, "sha256": "0"}}},
        {"files": {"a\0b": {}}},
        {"files": {"..": {}}},
    ],
)
def test_a_manifest_that_somebody_forged_is_refused(tmp_path, change):
    """Its digest is right, so that only its content can tell."""
    commit(tmp_path / "x")
    path = tmp_path / "x" / storage.MANIFEST
    body = json.loads(path.read_bytes()) | change
    del body["sha256"]
    path.write_bytes(storage._manifest({key: value for key, value in body.items() if value}))
    with pytest.raises(StorageError, match=r"MANIFEST\.json: (schema|expected the names)"):
        storage.read_folder(tmp_path / "x")


def test_a_deeply_nested_manifest_is_damaged(tmp_path):
    commit(tmp_path / "x")
    (tmp_path / "x" / storage.MANIFEST).write_bytes(b"[" * 100_000)
    with pytest.raises(StorageError, match="damaged"):
        storage.read_folder(tmp_path / "x")


@contextmanager
def file_size_limit(size):
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.parametrize("size", [0, 1, 500, 1023])
def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path, size):
    commit(tmp_path / "old")
    with file_size_limit(size), pytest.raises(StorageError, match="new.*cannot be written.*large"):
        commit(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert storage.read_folder(tmp_path / "old") == FILES


def fail_at(monkeypatch, number, code=errno.ENOSPC):
    """Makes the n-th call that changes what is on disk fail; returns how many there were."""
    calls = []

    def failing(function):
        def call(*arguments, **named):
            calls.append(function)
            if len(calls) == number:
                raise OSError(code, os.strerror(code))
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    for name in ("open", "rename", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, failing(getattr(Path, name)))
    return calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_whichever_call_fails_the_old_folder_stays(tmp_path, monkeypatch, code):
    old, new = tmp_path / "old", tmp_path / "new"
    commit(old)
    with monkeypatch.context() as patch:
        calls = fail_at(patch, 0)
        commit(tmp_path / "counted")
    total = len(calls)
    storage.remove_folder(tmp_path / "counted", FILES)
    assert total == 2 * 4 + 4  # open and flush 4 files; make, flush, rename, flush the parent
    for number in range(1, total + 1):
        with monkeypatch.context() as patch:
            fail_at(patch, number, code)
            with pytest.raises(StorageError, match=os.strerror(code)):
                commit(new)
        assert storage.read_folder(old) == FILES
        if new.exists():  # only the last flush failed: it is complete, but might not survive
            assert number == total
            assert storage.read_folder(new) == FILES
        else:
            assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_writing_a_file_replaces_it_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    for number in (1, 2, 3):
        with monkeypatch.context() as patch:
            fail_at(patch, number)
            with pytest.raises(StorageError, match="f: cannot be written"):
                storage.write_file(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    storage.write_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_what_we_did_not_write_is_never_removed(tmp_path, caplog):
    commit(tmp_path / "x")
    note = tmp_path / "x" / "note.txt"
    note.write_text("mine")
    assert not storage.remove_folder(tmp_path / "x", FILES)
    assert "note.txt" in caplog.text
    assert storage.read_folder(tmp_path / "x") == FILES
    note.unlink()
    assert storage.remove_folder(tmp_path / "x", FILES)
    assert not list(tmp_path.iterdir())


def test_stale_temporary_folders_go_and_look_alikes_stay(tmp_path):
    stale = tmp_path / f".tmp-{'0' * 32}"
    other = tmp_path / f".tmp-{'1' * 32}"
    for folder in (stale, other, tmp_path / ".tmp-mine", tmp_path / "tmp"):
        folder.mkdir()
        (folder / "a.bin").write_text("half")
    (other / "note.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f".tmp-{'2' * 32}").symlink_to(elsewhere)
    storage.remove_stale(tmp_path, FILES)
    assert not stale.exists()
    assert (other / "note.txt").exists()
    assert (tmp_path / ".tmp-mine" / "a.bin").exists() and (tmp_path / "tmp" / "a.bin").exists()
    assert elsewhere.is_dir()


# A model of a disk on which only what was flushed is certain to survive a power cut.


@dataclass
class File:
    content: bytes = b""
    flushed: bytes = b""


@dataclass
class Folder:
    entries: dict = field(default_factory=dict)
    flushed: dict = field(default_factory=dict)


def load(path: Path):
    """The node for a path on the real disk, all flushed."""
    if path.is_file():
        return File(path.read_bytes(), path.read_bytes())
    entries = {child.name: load(child) for child in path.iterdir()}
    return Folder(entries, dict(entries))


def replay(root: Folder, operations) -> None:
    def find(parts):
        node = root
        for part in parts:
            node = node.entries[part]
        return node

    for kind, path, *rest in operations:
        parent, name = find(path[:-1]), path[-1] if path else None
        if kind == "mkdir":
            parent.entries[name] = Folder()
        elif kind == "create":
            parent.entries[name] = File()
        elif kind == "write":
            find(path).content = rest[0]
        elif kind == "rename":
            find(rest[0][:-1]).entries[rest[0][-1]] = parent.entries.pop(name)
        elif kind == "remove":
            del parent.entries[name]
        else:
            node = find(path)
            if isinstance(node, File):
                node.flushed = node.content
            else:
                node.flushed = dict(node.entries)


def materialise(node, path: Path, *, data: bool, names: bool) -> None:
    """Writes what a crash leaves: unflushed contents and unflushed names each survive or do not."""
    if isinstance(node, File):
        path.write_bytes(node.content if data else node.flushed)
        return
    path.mkdir()
    for name, child in (node.entries if names else node.flushed).items():
        materialise(child, path / name, data=data, names=names)


@contextmanager
def recorded(root: Path, monkeypatch):
    """Yields the list of operations below `root` that storage makes while the block runs."""
    operations = []

    def parts(path):
        return Path(path).relative_to(root).parts

    def note(kind, function):
        def call(path, *arguments):
            result = function(path, *arguments)
            targets = [parts(argument) for argument in arguments if isinstance(argument, Path)]
            operations.append((kind, parts(path), *targets))
            return result

        return call

    def removing(path, missing_ok=False):
        if path.exists():
            os.unlink(path)
            operations.append(("remove", parts(path)))

    def flushing(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        operations.append(("flush", parts(path)))

    open_file = Path.open

    def opening(path, mode="r", *arguments, **named):
        file = open_file(path, mode, *arguments, **named)
        if mode == "xb":
            operations.append(("create", parts(path)))
            write = file.write

            class Recording:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                def __getattr__(self, name):
                    return getattr(file, name)

                def write(self, content):
                    operations.append(("write", parts(path), bytes(content)))
                    return write(content)

            return Recording()
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", note("mkdir", Path.mkdir))
        patch.setattr(Path, "rename", note("rename", Path.rename))
        patch.setattr(Path, "rmdir", note("remove", Path.rmdir))
        patch.setattr(Path, "unlink", removing)
        patch.setattr(Path, "open", opening)
        patch.setattr(os, "fsync", flushing)
        yield operations


def crashes(root: Path, before: Path, operations):
    """Yields every state that a crash can leave, as a folder on disk."""
    for count in range(len(operations) + 1):
        prefix = list(operations[:count])
        variants = [prefix]
        if prefix and prefix[-1][0] == "write":
            kind, path, content = prefix[-1]
            for cut in (0, len(content) // 2, max(0, len(content) - 1)):
                variants.append([*prefix[:-1], (kind, path, content[:cut])])
        for variant in variants:
            for data, names in ((True, True), (False, True), (True, False), (False, False)):
                disk = load(before)
                replay(disk, variant)
                target = root / f"{count}-{len(os.listdir(root))}"
                materialise(disk, target, data=data, names=names)
                yield count, target


def outcomes(tmp_path, monkeypatch):
    """Commits "new" beside "old", crashes everywhere, and returns what can be read afterwards."""
    before, real, states = tmp_path / "before", tmp_path / "real", tmp_path / "states"
    for root in (before, real):
        root.mkdir()
        commit(root / "old")
    states.mkdir()
    with recorded(real, monkeypatch) as operations:
        commit(real / "new", {"a.bin": b"new" * 100, "c": b"c"})
    found = []
    for count, state in crashes(states, before, operations):
        readable = {}
        for path in state.iterdir():
            if not path.name.startswith(".tmp-"):
                try:
                    readable[path.name] = storage.read_folder(path)
                except StorageError:
                    readable[path.name] = None
        found.append((count, readable))
    return len(operations), found


def test_after_a_crash_anywhere_there_is_the_old_or_the_new_and_nothing_else(tmp_path, monkeypatch):
    total, found = outcomes(tmp_path, monkeypatch)
    new = {"a.bin": b"new" * 100, "c": b"c"}
    assert total == 1 + 3 * 3 + 3 and len(found) > 80
    for count, readable in found:
        assert readable["old"] == FILES
        assert readable.get("new", new) == new, f"a torn folder after {count} operations"
    assert all("new" in readable for count, readable in found if count == total)
    assert not any("new" in readable for count, readable in found if count < total - 1)


def test_without_flushing_files_the_model_finds_torn_folders(tmp_path, monkeypatch):
    """The check of the check."""

    def write_unflushed(path, content):
        with path.open("xb") as file:
            file.write(content)

    monkeypatch.setattr(storage, "_write_flushed", write_unflushed)
    _, found = outcomes(tmp_path, monkeypatch)
    assert any(readable.get("new", 0) is None for _, readable in found)


def test_without_flushing_the_parent_a_finished_commit_can_vanish(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "flush_folder", lambda folder: None)
    total, found = outcomes(tmp_path, monkeypatch)
    assert any("new" not in readable for count, readable in found if count == total)


def test_a_file_in_the_place_of_a_folder_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot be written: Not a directory"):
            storage.make_folder(folder)
    storage.make_folder(tmp_path / "a" / "b")
    storage.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
