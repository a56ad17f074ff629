"""Which names may be opened: nothing outside of the folder, and nothing but files."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_backbone.data.coco.image_files import ImageFiles, UnusableName
from resnet_backbone.errors import DataError

BAD = "bad file name"
ABSOLUTE = "file name is an absolute path"
OUTSIDE = "file name leaves the image folder"
LINK = "link out of the image folder"
MISSING = "missing image file"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """images/ with files in two depths and links of all kinds; secret.png lies beside it."""
    root = tmp_path_factory.mktemp("data")
    (root / "secret.png").write_bytes(b"x")
    images = root / "images"
    (images / "sub" / "deep").mkdir(parents=True)
    names = ("a.png", "sub/b.png", "sub/deep/c.png", ".hidden.png", "sub/e\u0301clair.png")
    for name in (*names, "na\u0131\u0308ve.png"):
        (images / name).write_bytes(b"x")
    (images / "alias.png").symlink_to("sub/b.png")
    (images / "folder_alias").symlink_to("sub")
    (images / "loop").symlink_to(".")
    (images / "out.png").symlink_to(root / "secret.png")
    (images / "out").symlink_to(root)
    (images / "dangling.png").symlink_to("nowhere.png")
    (images / "circle.png").symlink_to("circle.png")
    os.mkfifo(images / "pipe.png")
    return images


def refusal(folder, name):
    with pytest.raises(UnusableName) as caught:
        ImageFiles(folder).find(name)
    return caught.value.kind, caught.value.detail


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, name) for name in ("a.png", "sub/b.png", ".hidden.png", "alias.png")),
        *((name, name) for name in ("folder_alias/b.png", "folder_alias/deep/c.png")),
        *(
            ("./a.png", "a.png"),
            ("sub//b.png", "sub/b.png"),
            ("sub/./deep/c.png", "sub/deep/c.png"),
        ),
        *(("sub/../a.png", "a.png"), ("loop/loop/a.png", "loop/loop/a.png")),
        ("out/images/a.png", "out/images/a.png"),  # out, and in again
        # As Windows writes paths.
        *((r"sub\b.png", "sub/b.png"), (r".\sub\deep\c.png", "sub/deep/c.png")),
        # Composed and decomposed, as macOS writes names and as others do.
        *(
            ("sub/\u00e9clair.png", "sub/e\u0301clair.png"),
            ("na\u0131\u0308ve.png", "na\u0131\u0308ve.png"),
        ),
    ],
)
def test_files_of_the_folder_may_be_read_however_their_name_is_spelled(folder, name, expected):
    found = ImageFiles(folder).find(name)
    assert found == expected
    assert (folder / found).is_file()


def test_absolute_paths_into_the_folder_are_made_relative(folder, tmp_path, monkeypatch):
    files = ImageFiles(folder)
    assert files.find(str(folder / "sub" / "b.png")) == "sub/b.png"
    (tmp_path / "link").symlink_to(folder)
    assert ImageFiles(tmp_path / "link").find(f"{tmp_path}/link/a.png") == "a.png"
    assert ImageFiles(tmp_path / "link").find(f"{folder}/a.png") == "a.png"
    monkeypatch.chdir(folder.parent)
    assert ImageFiles(type(folder)("images")).find(str(folder / "a.png")) == "a.png"


@pytest.mark.parametrize("name", ["", "\0", "a.png\0", None, 5, ["a"]])
def test_what_is_no_name_is_said_to_be_none(folder, name):
    expected = f"got {name!r}, expected a path relative to the image folder"
    assert refusal(folder, name) == (BAD, expected)


@pytest.mark.parametrize(
    "name", ["../secret.png", "sub/../../secret.png", "..", "C:a.png", "..\\secret.png"]
)
def test_names_that_lead_out_are_refused(folder, name):
    expected = f"got {name!r}, expected a relative path inside the image folder"
    assert refusal(folder, name) == (OUTSIDE, expected)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *(("/etc/passwd", ""), ("\\\\host\\share\\x.png", ""), ("C:/x.png", "")),
        ("/elsewhere/a.png", "a.png"),
        ("D:\\mine\\A.png", "a.png? It differs in upper and lower case"),
    ],
)
def test_absolute_paths_elsewhere_are_called_so(folder, name, hint):
    kind, detail = refusal(folder, name)
    name_, _, difference = hint.partition("?")
    hint = hint and f"; did you mean {folder / name_}?{difference}"
    assert kind == ABSOLUTE
    assert detail == f"got {name!r}, expected a path relative to {folder}{hint}"


@pytest.mark.parametrize("name", ["out.png", "out/secret.png"])
def test_links_out_of_the_folder_are_not_followed(folder, name):
    kind, detail = refusal(folder, name)
    target = folder.parent / "secret.png"
    assert kind == LINK
    assert detail.startswith(
        f"{folder / name} is a link to outside the folder, {target}; let data."
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b.png", "does not exist; did you mean {folder}/sub/b.png?"),
        *(
            (n, f"does not exist; did you mean {{folder}}/a.png?{difference}")
            for n, difference in (
                ("A.PNG", " It differs in upper and lower case"),
                ("a.png ", " It differs in spaces at its beginning or end"),
                (" a.png", " It differs in spaces at its beginning or end"),
                *(("%61.png", ""), ("a.jpg", ""), ("a", ""), ("sub/A.jpeg", "")),
            )
        ),
        ("d.png", "does not exist"),
        ("x" * 5000, "does not exist"),
        ("sub", "is a folder"),
        (".", "is a folder"),
        ("pipe.png", "is not a regular file"),
        ("dangling.png", "is a link to nowhere.png, which does not exist"),
        ("circle.png", "is a link to circle.png, which does not exist"),
    ],
)
def test_what_cannot_be_read_is_missing_for_the_true_reason(folder, name, reason):
    expected = f"{folder / name} {reason.format(folder=folder)}"
    assert refusal(folder, name) == (MISSING, expected)


PARTS = ["a.png", "b.png", "sub", "deep", "..", ".", "", "out", "loop", "alias.png", "c.png", "\0"]
NAMES = st.lists(st.sampled_from(PARTS), max_size=6).map("/".join) | st.text(max_size=20)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NAMES)
def test_whatever_may_be_read_is_a_file_of_the_folder(folder, name):
    try:
        found = ImageFiles(folder).find(name)
    except UnusableName as error:
        assert error.kind in (BAD, ABSOLUTE, OUTSIDE, LINK, MISSING)
    else:
        real = (folder / found).resolve()
        assert real.is_file() and real.is_relative_to(folder.resolve())


def test_the_folder_may_be_a_link_itself(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert ImageFiles(tmp_path / "link").find("sub/b.png") == "sub/b.png"
    assert refusal(tmp_path / "link", "out.png")[0] == LINK


def test_a_folder_that_cannot_be_listed_does_not_hide_the_others(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    scandir = os.scandir

    def refuse(path):  # permissions do not stop whoever is root
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert ImageFiles(tmp_path).find("a.png") == "a.png"
    folder = tmp_path / "lost+found"
    expected = f"{folder}/b.png cannot be looked for: {folder}: Permission denied"
    assert refusal(tmp_path, "lost+found/b.png") == (MISSING, expected)


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
