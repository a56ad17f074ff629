"""Which names may be opened: nothing outside of the folder, and nothing but files."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_backbone.data.coco.image_files import ImageFiles
from resnet_backbone.errors import DataError

OUTSIDE = "file name leaves the image folder"
MISSING = "missing image file"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """images/ with files in two depths and links of all kinds; secret.png lies beside it."""
    root = tmp_path_factory.mktemp("data")
    (root / "secret.png").write_bytes(b"x")
    images = root / "images"
    (images / "sub" / "deep").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", ".hidden.png"):
        (images / name).write_bytes(b"x")
    (images / "alias.png").symlink_to("sub/b.png")
    (images / "folder_alias").symlink_to("sub")
    (images / "loop").symlink_to(".")
    (images / "out.png").symlink_to(root / "secret.png")
    (images / "out").symlink_to(root)
    (images / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(images / "pipe.png")
    return images


@pytest.mark.parametrize(
    "name",
    [
        *("a.png", "./a.png", "sub/b.png", "sub//b.png", "sub/./deep/c.png", ".hidden.png"),
        *("alias.png", "folder_alias/b.png", "folder_alias/deep/c.png", "loop/loop/a.png"),
        "out/images/a.png",  # out, and in again
    ],
)
def test_files_of_the_folder_may_be_read(folder, name):
    assert ImageFiles(folder).refusal(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../secret.png", "sub/../../secret.png", "sub/../a.png", "..", "", "\0"),
        *("a.png\0", "C:a.png", "C:/a.png", "sub\\b.png", "\\\\host\\share\\a.png", None, 5, ["a"]),
    ],
)
def test_names_that_could_mean_something_elsewhere_are_refused_as_they_stand(folder, name):
    """On any system, whatever lies there."""
    kind, detail = ImageFiles(folder).refusal(name)
    assert kind == OUTSIDE
    assert detail == f"got {name!r}, expected a relative path inside the image folder"


@pytest.mark.parametrize("name", ["out.png", "out/secret.png"])
def test_links_out_of_the_folder_are_not_followed(folder, name):
    found = ImageFiles(folder).refusal(name)
    assert found == (OUTSIDE, f"{folder / name} is a link to outside the folder")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b.png", "does not exist"),
        ("A.PNG", "does not exist"),
        ("a.png/b.png", "does not exist"),
        ("x" * 5000, "does not exist"),
        ("sub", "is not a regular file"),
        (".", "is not a regular file"),
        ("pipe.png", "is not a regular file"),
        ("dangling.png", "is not a regular file"),
    ],
)
def test_what_cannot_be_read_is_missing(folder, name, reason):
    assert ImageFiles(folder).refusal(name) == (MISSING, f"{folder / name} {reason}")


PARTS = ["a.png", "b.png", "sub", "deep", "..", ".", "", "out", "loop", "alias.png", "c.png", "\0"]
NAMES = st.lists(st.sampled_from(PARTS), max_size=6).map("/".join) | st.text(max_size=20)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES)
def test_whatever_may_be_read_is_a_file_of_the_folder(folder, name):
    refusal = ImageFiles(folder).refusal(name)
    if refusal is None:
        real = (folder / name).resolve()
        assert real.is_file() and real.is_relative_to(folder.resolve())
    else:
        assert refusal[0] in (OUTSIDE, MISSING)


def test_the_folder_may_be_a_link_itself(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    files = ImageFiles(tmp_path / "link")
    assert files.refusal("sub/b.png") is None
    assert files.refusal("out.png")[0] == OUTSIDE


def test_a_folder_that_is_not_there_or_cannot_be_listed(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"absent: no such image folder; check data.root"):
        ImageFiles(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no such image folder"):
        ImageFiles(tmp_path / "file")

    def refuse(path):  # permissions do not stop whoever is root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="cannot be listed: .*Permission denied"):
        ImageFiles(tmp_path)
