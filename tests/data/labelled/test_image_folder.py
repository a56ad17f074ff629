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
    from torchvision.datasets import ImageFolder as Theirs

    write(tmp_path, {"z": ["1.jpg"], "a": ["2.jpg", "3.JPEG"], "M": ["4.png"]})
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
            "without images: train; are the class folders one level deeper",
        ),
        ({"sources": [tmp_path / "val"]}, "no class folders; set data.val_labels to a file"),
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
    assert not caplog.messages
    ImageFolder([tmp_path / "one"], labels=tmp_path / "labels")
    assert caplog.messages == [f"{tmp_path / 'one'}: 1 images of data.val_labels do not exist: v_2"]


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
