import logging
import os

import pytest

from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.errors import DataError


def write(root, tree):
    for name, files in tree.items():
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_bytes(f"{name}/{file}".encode())
    return root


def test_classes_are_folders_in_the_order_of_their_names(tmp_path):
    write(tmp_path, {"n02": ["b.JPEG", "a.jpg"], "n01": ["c.png"], "n03": ["d.webp", "notes.txt"]})
    folder = ImageFolder([tmp_path])
    assert folder.class_names == ("n01", "n02", "n03")
    assert [folder.read(n) for n in range(len(folder))] == [
        *(b"n01/c.png", b"n02/a.jpg", b"n02/b.JPEG", b"n03/d.webp")
    ]
    assert folder.labels == [0, 1, 1, 2]


def test_labels_are_torchvisions(tmp_path):
    """Of all kinds of files, and with folders inside of class folders."""
    from torchvision.datasets import ImageFolder as Theirs

    write(tmp_path, {"z": ["1.jpg", "5.bmp", "6.tif"], "a": ["2.jpg", "3.JPEG"], "M": ["4.png"]})
    write(tmp_path, {"a/sub": ["1.png", "7.ppm"], "a/sub/deep": ["8.webp"], "a/1": ["9.TIFF"]})
    ours, theirs = ImageFolder([tmp_path]), Theirs(str(tmp_path))
    assert list(ours.class_names) == theirs.classes
    assert list(zip(ours.names, ours.labels, strict=True)) == theirs.samples


def test_folders_are_joined(tmp_path):
    one, two = write(tmp_path / "1", {"a": ["x.jpg"]}), write(tmp_path / "2", {"b": ["y.jpg"]})
    both = ImageFolder([one, two])
    assert both.class_names == ("a", "b") and both.labels == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        "v_1.JPEG n02\nv_2.JPEG n01\n",
        "ImageId,PredictionString\nv_1,n02 10 20 30 40 n02 1 2 3 4\nv_2,n01 5 6 7 8\n",
    ],
)
def test_a_flat_folder_is_labelled_by_a_file(tmp_path, text):
    write(tmp_path, {"val": ["v_1.JPEG", "v_2.JPEG"]})
    (tmp_path / "labels").write_text(text)
    names = ("n01", "n02")
    folder = ImageFolder([tmp_path / "val"], class_names=names, labels=tmp_path / "labels")
    assert folder.labels == [1, 0]


def test_what_is_wrong_is_named(tmp_path):
    write(tmp_path, {"train/a": ["1.jpg"], "train/b": [], "train/c": [], "val": ["v_1.JPEG"]})
    write(tmp_path, {"deep/train/a": ["1.jpg"]})
    cases = [
        (
            {"sources": [tmp_path / "absent"]},
            "absent: no such folder; data.train and data.val",
        ),
        ({"sources": [tmp_path / "train" / "b"]}, "no images .* in class folders"),
        ({"sources": [tmp_path / "train"]}, "2 class folders without images: b, c$"),
        (
            {"sources": [tmp_path / "deep"]},
            "the classes would be train; are the class folders one level deeper",
        ),
        ({"sources": [tmp_path / "val"]}, "no class folders; data.train needs a folder for each"),
        (
            {"sources": [tmp_path / "val"], "class_names": ("a",)},
            "no class folders; set data.val_labels to a file",
        ),
        (
            {"sources": [tmp_path / "val"], "labels": tmp_path / "absent"},
            "absent: cannot read the labels",
        ),
    ]
    for arguments, message in cases:
        with pytest.raises(DataError, match=message):
            ImageFolder(**arguments)


def test_labels_that_do_not_fit_are_named(tmp_path):
    write(tmp_path, {"val": ["v_1.JPEG", "v_2.JPEG"]})
    labels = tmp_path / "labels"
    labels.write_text("v_1.JPEG n01\n")
    with pytest.raises(DataError, match="data.val_labels has no label for 1 of 2 images: v_2"):
        ImageFolder([tmp_path / "val"], labels=labels)
    labels.write_text("v_1.JPEG n01\n\nv_2.JPEG\n")
    with pytest.raises(DataError, match="labels, line 3: found 'v_2.JPEG', expected a name and"):
        ImageFolder([tmp_path / "val"], labels=labels)


def test_two_classes_of_an_image_are_an_error(tmp_path):
    write(tmp_path, {"val": ["v_1.JPEG"]})
    labels = tmp_path / "labels"
    labels.write_text("v_1.JPEG n01\nv_1.JPEG n01\n")
    assert ImageFolder([tmp_path / "val"], labels=labels).class_names == ("n01",)
    labels.write_text("v_1.JPEG n01\nv_1.JPEG n02\n")
    with pytest.raises(DataError, match="labels, line 2: v_1 is n02, but an earlier line says n01"):
        ImageFolder([tmp_path / "val"], labels=labels)


def test_labelled_images_that_are_not_there_are_counted(tmp_path, caplog):
    write(tmp_path, {"one": ["v_1.JPEG"], "two": ["v_2.JPEG"]})
    (tmp_path / "labels").write_text("v_1 a\nv_2 b\n")
    ImageFolder([tmp_path / "one", tmp_path / "two"], labels=tmp_path / "labels")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    ImageFolder([tmp_path / "one"], labels=tmp_path / "labels")
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"{tmp_path / 'one'}: 1 image of data.val_labels, but no such file: v_2"]


def test_what_is_left_out_is_counted_by_kind(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path, {"a": ["1.jpg", "2.heic", "3.heic", "._1.jpg", "README"], "b/c": ["4.bmp"]})
    ImageFolder([tmp_path / "a" / "..", tmp_path], class_names=("a", "b"))
    assert "4 images, 2 classes; left out 4 x .heic file, 2 x hidden file" in caplog.text
    write(tmp_path, {".ipynb_checkpoints": ["5.jpg"], "__MACOSX/b": ["6.jpg"], "b/.git": []})
    (tmp_path / "loose.png").write_bytes(b"x")
    caplog.clear()
    found = ImageFolder([tmp_path])
    assert found.class_names == ("a", "b") and len(found) == 2
    assert caplog.messages == [
        f"{tmp_path}: 2 images, 2 classes; left out 2 x .heic file, 1 x hidden file, 3 x hidden "
        "folder, 1 x image outside of the class folders, 1 x no suffix file"
    ]
    caplog.clear()
    ImageFolder([write(tmp_path / "clean", {"a": ["1.jpg"], "b": ["2.jpg"]})])
    assert caplog.messages == [f"{tmp_path / 'clean'}: 2 images, 2 classes"]
    assert caplog.records[0].levelname == "INFO"


def test_links_in_a_circle_and_unreadable_folders(tmp_path, monkeypatch):
    write(tmp_path, {"a": ["1.jpg"], "b": ["2.jpg"], "lost+found": []})
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "3.jpg").symlink_to("3.jpg")
    scandir = os.scandir
    refused = "lost+found"

    def refuse(path):  # permissions do not stop whoever is root
        if str(path).endswith(refused):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = ImageFolder([tmp_path])
    assert found.class_names == ("a", "b")
    refused = f"{tmp_path.name}/b"
    with pytest.raises(DataError, match="b: cannot be listed: Permission denied; its images would"):
        ImageFolder([tmp_path])
    refused = tmp_path.name
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        ImageFolder([tmp_path])


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "3.png").symlink_to(tmp_path / "unmounted" / "3.png")
    found = ImageFolder([tmp_path])
    assert [os.path.basename(name) for name in found.names] == ["1.png", "3.png", "2.png"]
    with pytest.raises(DataError, match=r"3\.png: cannot be read: No such file"):
        found.read(1)


def test_class_names_are_composed(tmp_path):
    """macOS writes accents apart; both splits have the same classes however they were copied."""
    write(tmp_path, {"train/e\u0301clair": ["1.jpg"], "val/\u00e9clair": ["2.jpg"]})
    names = ImageFolder([tmp_path / "train"]).class_names
    assert ImageFolder([tmp_path / "val"], class_names=names).class_names == ("\u00e9clair",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_may_be_written_on_windows(tmp_path, encoding):
    write(tmp_path, {"val": ["\u00e9clair_1.JPEG"]})
    text = "val\\e\u0301clair_1.JPEG n02\r\n"
    (tmp_path / "labels").write_bytes(text.encode(encoding))
    folder = ImageFolder([tmp_path / "val"], labels=tmp_path / "labels")
    assert folder.class_names == ("n02",)


def test_hidden_files_are_no_images(tmp_path):
    write(tmp_path, {"a": ["1.jpg", "._1.jpg"]})
    assert ImageFolder([tmp_path]).names == [str(tmp_path / "a" / "1.jpg")]


def test_other_classes_than_in_training_are_named(tmp_path):
    write(tmp_path, {"a": ["1.jpg"], "c": ["2.jpg"]})
    with pytest.raises(
        DataError, match=r"images: 1 missing \(b\), 1 unknown \(c\); both splits need"
    ):
        ImageFolder([tmp_path], class_names=("a", "b"))
    with pytest.raises(
        DataError, match=r"images: 1 missing \(b\); both splits need the same classes$"
    ):
        ImageFolder([tmp_path], class_names=("a", "b", "c"))


def test_a_file_that_has_gone_is_named(tmp_path):
    folder = ImageFolder([write(tmp_path, {"a": ["1.jpg"]})])
    (tmp_path / "a" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"a/1.jpg: cannot be read: No such file"):
        folder.read(0)
