"""One process at a time uses an output folder, and a start that fails leaves nothing."""

import errno
import logging
import multiprocessing
import os
import uuid

import pytest

from resnet_backbone.errors import StorageError
from resnet_backbone.utils import folder_lock
from resnet_backbone.utils.folder_lock import LOCK, locked, output_folder


def test_nothing_is_left_if_nothing_was_written(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["result"]
    with locked(tmp_path):  # which was there before
        pass
    assert tmp_path.is_dir()


def test_a_second_process_is_refused(tmp_path):
    with locked(tmp_path):
        with pytest.raises(StorageError, match="another process is using this folder"):
            with locked(tmp_path):
                pytest.fail("two at a time")
        assert (tmp_path / LOCK).exists()  # it is not the second one's to remove


def test_a_lock_file_that_was_removed_after_it_was_opened_is_no_lock(tmp_path, monkeypatch):
    """The first process removes the file between the second one's opening and locking it."""
    real, calls = folder_lock.fcntl.flock, []

    def flock(file, how):
        if not calls:
            (tmp_path / LOCK).unlink()
        calls.append(os.fstat(file.fileno()).st_ino)
        real(file, how)

    monkeypatch.setattr(folder_lock.fcntl, "flock", flock)
    with locked(tmp_path):
        assert len(calls) == 2 and (tmp_path / LOCK).stat().st_ino == calls[-1]


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "ENOTSUP"])
def test_a_file_system_without_locks_is_named_once_and_used(tmp_path, monkeypatch, caplog, name):
    """So do Lustre without the option flock, NFS without its lock daemon, and FUSE."""
    number = getattr(errno, name)
    monkeypatch.setattr(folder_lock.fcntl, "flock", _failing(number))
    with locked(tmp_path):
        (tmp_path / "result").write_text("")
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: the file system cannot lock files")
    assert os.strerror(number) in message
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_another_error_of_locking_is_not_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock.fcntl, "flock", _failing(errno.EIO))
    with pytest.raises(StorageError, match="cannot be written: .*Input/output error"):
        with locked(tmp_path):
            pytest.fail("locked")


def _failing(number):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused_rather_than_waited_for(tmp_path, kind):
    os.mkfifo(tmp_path / LOCK) if kind == "pipe" else (tmp_path / LOCK).mkdir()
    with pytest.raises(StorageError, match=f"{LOCK}: not a regular file"):
        with locked(tmp_path):
            pytest.fail("locked")


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stale = tmp_path / f".tmp-{uuid.uuid4().hex}"
    stale.write_text("half a file")
    others = [tmp_path / name for name in (".tmp-mine", "x.tmp", f".tmp-{uuid.uuid4().hex[:31]}")]
    for path in others:
        path.write_text("")
    with locked(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == sorted(others)
    assert caplog.messages == [f"removed {stale}, left by an interrupted process"]


def test_forked_children_let_go_of_it_and_the_handler_is_registered_once(tmp_path, monkeypatch):
    registered = []
    monkeypatch.setattr(os, "register_at_fork", lambda **named: registered.append(named))
    for _ in range(3):
        with locked(tmp_path):
            child = multiprocessing.get_context("fork").Process(target=_assert_nothing_held)
            child.start()
            child.join()
            assert child.exitcode == 0
    assert registered == []


def _assert_nothing_held():
    assert all(file.closed for file in folder_lock._held)


def test_files_of_others_are_noticed_before_the_work_begins(tmp_path):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(StorageError, match=r"contains results\.json"):
        with output_folder(tmp_path, "evaluation", ["results.json"]):
            pytest.fail("work began")
    (tmp_path / "pictures").write_text("mine")
    with pytest.raises(StorageError, match=r"contains pictures, which"):
        with output_folder(tmp_path, "evaluation", ["pictures/"]):
            pytest.fail("work began")
    (tmp_path / "pictures").unlink()
    (tmp_path / "pictures").mkdir()
    with output_folder(tmp_path, "evaluation", ["other.json", "pictures/"]) as own:
        assert (own.folder, own.writer) == (tmp_path, "evaluation")
