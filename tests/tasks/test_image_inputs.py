"""Which files the arguments of predict mean."""

import logging
import os
import stat

import pytest

from resnet_backbone.tasks.image_inputs import find_images
from resnet_backbone.utils.own_files import OwnFiles


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def found(folder, *arguments):
    inputs = find_images(arguments or [folder], folder / "out")
    assert inputs.failures == []
    return [path.relative_to(folder).as_posix() for path in inputs.files]


def test_folders_are_taken_whole_in_the_order_of_names_and_each_file_once(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", "deep/er/c.webp", "d.Tiff", "e.jfif", "f.JPE")
    expected = ["d.Tiff", "a.jpg", "b.PNG", "deep/er/c.webp", "e.jfif", "f.JPE"]
    assert found(tmp_path, tmp_path / "d.Tiff", tmp_path, tmp_path) == expected


def test_what_is_left_out_is_counted_by_kind(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    touch(tmp_path, "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "n.txt", "m.TXT", "Makefile")
    assert found(tmp_path) == ["a.jpg"]
    counts = "2 .txt, 2 hidden, 1 without suffix"
    assert caplog.messages == [f"{tmp_path}: 1 image; left out: {counts}"]
    assert found(tmp_path, tmp_path / "._a.jpg") == ["._a.jpg"]  # named, and so meant


def test_links_are_followed_and_those_to_nothing_are_left_to_reading(tmp_path):
    touch(tmp_path, "in/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    names = ["in/a.jpg", "in/circle.jpg", "in/link/b.jpg", "in/pipe.jpg"]
    assert found(tmp_path, tmp_path / "in") == names


def test_pictures_that_we_drew_are_left_out_wherever_they_are(tmp_path):
    touch(tmp_path, "a.jpg", "out/a.jpg", "out/mine.jpg", "run/pictures/7.jpg")
    OwnFiles(tmp_path / "out", "prediction").adopt(["a.jpg"])
    OwnFiles(tmp_path / "run", "run").adopt(["pictures/7.jpg"])
    assert found(tmp_path) == ["a.jpg", "out/mine.jpg"]
    assert found(tmp_path, tmp_path / "out") == ["out/mine.jpg"]
    assert found(tmp_path, tmp_path / "out" / "a.jpg") == ["out/a.jpg"]


def test_a_folder_without_images_is_a_failure(tmp_path):
    touch(tmp_path, "notes.txt")
    inputs = find_images([tmp_path, tmp_path / "absent.jpg"], tmp_path / "out")
    assert inputs.failures == [f"{tmp_path}: this folder contains no image"]
    assert inputs.files == [tmp_path / "absent.jpg"]  # reading it says that it is absent


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_a_failure_and_the_others_are_taken(tmp_path):
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        inputs = find_images([tmp_path], tmp_path / "out")
    finally:
        (tmp_path / "locked").chmod(stat.S_IRWXU)
    assert inputs.files == [tmp_path / "a.jpg"]
    assert inputs.failures == [
        f"{tmp_path / 'locked'}: this folder cannot be read: Permission denied"
    ]
