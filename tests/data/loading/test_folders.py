"""Folders with everything that file systems hold."""

import os

import pytest

from resnet_backbone.data.loading.folders import Walk, is_file, is_folder, is_hidden


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", ".hidden/d.png", "__MACOSX/e.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.png").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "up").symlink_to("..")
    (root / "out").symlink_to(tmp_path)
    (root / "circle").symlink_to("circle")
    (root / "nowhere.png").symlink_to("absent.png")
    (root / "alias.png").symlink_to("a.png")
    os.mkfifo(root / "pipe.png")
    return root


def names(walk):
    return [os.path.relpath(entry.path, walk.root) for entry in walk.files()]


def test_files_are_found_in_order_and_links_to_folders_are_left_alone(tree):
    walk = Walk(str(tree))
    found = [".hidden/d.png", "__MACOSX/e.png", "a.png", "alias.png", "sub/b.png", "sub/deep/c.png"]
    assert names(walk) == found
    assert walk.unreadable == {} and walk.passed_over == []


def test_links_are_followed_once_and_circles_end(tree):
    walk = Walk(str(tree), follow=True, hidden=False)
    assert names(walk) == ["a.png", "alias.png", "link/f.png", "sub/b.png", "sub/deep/c.png"]
    assert [os.path.basename(path) for path in walk.passed_over] == [".hidden", "__MACOSX"]


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_neither_a_file_nor_a_folder_is_noted(tree, follow):
    walk = Walk(str(tree), follow=follow, hidden=False)
    list(walk.files())
    assert [os.path.basename(path) for path in walk.absent] == ["circle", "nowhere.png"]
    assert [os.path.basename(path) for path in walk.special] == ["pipe.png"]


def test_folders_that_cannot_be_listed_are_noted(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):  # permissions do not stop whoever is root
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    walk = Walk(str(tree))
    assert "sub/b.png" in names(walk)
    assert walk.unreadable == {str(tree / "sub" / "deep"): "Permission denied"}


def test_a_root_that_is_not_there(tmp_path):
    walk = Walk(str(tmp_path / "absent"))
    assert names(walk) == [] and walk.unreadable == {walk.root: "No such file or directory"}


def test_links_in_a_circle_are_neither_files_nor_folders(tree):
    entries = {entry.name: entry for entry in os.scandir(tree)}
    for name in ("circle", "nowhere.png", "pipe.png"):
        assert not is_file(entries[name]) and not is_folder(entries[name])
    assert is_file(entries["alias.png"]) and is_folder(entries["link"])
    assert not is_folder(entries["link"], follow=False)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "._a.jpg", "__MACOSX", "lost+found"])
def test_what_systems_add_is_hidden(name):
    assert is_hidden(name) and not is_hidden("cats")
