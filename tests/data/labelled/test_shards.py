import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from resnet_backbone.data.labelled.shards import Shards
from resnet_backbone.data.loading.jpeg import decode_image
from resnet_backbone.errors import DataError

webdataset = pytest.importorskip("webdataset", reason="shards are webdataset's")


def jpeg(color: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (9, 7), (color, 0, 255 - color)).save(content, "JPEG")
    return content.getvalue()


def write(folder, *, shards=2, samples=3, first=0):
    """By webdataset's own writer."""
    for number in range(shards):
        with webdataset.TarWriter(str(folder / f"train-{number:04d}.tar")) as writer:
            for sample in range(samples):
                index = first + number * samples + sample
                writer.write({"__key__": f"{index:06d}", "jpg": jpeg(index * 9), "cls": index % 4})
    return folder


def test_samples_are_webdatasets(tmp_path):
    found = Shards(write(tmp_path), ["train-{0000..0001}.tar"])
    expected = [
        (sample["jpg"], int(sample["cls"]))
        for number in range(2)
        for sample in webdataset.WebDataset(
            str(tmp_path / f"train-{number:04d}.tar"), shardshuffle=False
        )
    ]
    assert [(found.read(n), found.labels[n]) for n in range(len(found))] == expected
    assert found.class_names == ("0", "1", "2", "3")
    image = decode_image(found.read(4), found.names[4])
    assert np.abs(image[:, 0, 0].int().numpy() - [36, 0, 219]).max() <= 3  # JPEG
    assert found.names[4].endswith("train-0001.tar/000004")


def test_names_of_classes_come_from_a_file_or_from_the_training_images(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    found = Shards(tmp_path, ["train-0000.tar"])
    assert found.class_names == ("ant", "bee", "cat", "dog", "elk")
    own = Shards(tmp_path, ["train-0000.tar"], class_names=found.class_names)
    assert own.class_names == found.class_names
    with pytest.raises(
        DataError, match=r"train-0000.tar/000002: label 2, but there are only 2 classes"
    ):
        Shards(tmp_path, ["train-0000.tar"], class_names=("a", "b"))


def test_classes_without_images_are_counted(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    Shards(tmp_path, ["train-0000.tar"])
    assert caplog.messages == ["train-0000.tar: 2 of 5 classes have no images: dog, elk"]


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.97])
def test_a_shard_cut_short_is_named(tmp_path, kept):
    file = write(tmp_path, shards=1) / "train-0000.tar"
    with tarfile.open(file) as archive:
        end = archive.getmembers()[-1].offset_data + 512
    content = file.read_bytes()
    file.write_bytes(content[: int(end * kept)])
    with pytest.raises(DataError, match=r"train-0000.tar: (truncated|not a tar file|sample)"):
        Shards(tmp_path, ["train-0000.tar"])


def test_a_shard_that_is_cut_while_training_is_named(tmp_path):
    found = Shards(write(tmp_path, shards=1), ["train-0000.tar"])
    (tmp_path / "train-0000.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"train-0000.tar/000001: the shard is truncated"):
        found.read(1)


def test_what_is_missing_or_no_tar_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train-0000.tar: cannot be read: No such file"):
        Shards(tmp_path, ["train-0000.tar"])
    (tmp_path / "train-0000.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(DataError, match=r"train-0000.tar: not a tar file, or damaged"):
        Shards(tmp_path, ["train-0000.tar"])
    with tarfile.open(tmp_path / "train-0000.tar", "w"):
        pass
    with pytest.raises(DataError, match="no samples in train-0000.tar"):
        Shards(tmp_path, ["train-0000.tar"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"7.jpg": b"x"}, "sample 7 has no label"),
        ({"7.cls": b"1"}, "sample 7 has no image"),
        ({"7.jpg": b"x", "7.cls": b"dog"}, "7.cls contains b'dog', expected a class number"),
        ({"7.jpg": b"x", "7.cls": b"-1"}, "7.cls contains b'-1'"),
    ],
)
def test_incomplete_samples_are_named(tmp_path, files, message):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(DataError, match=f"a.tar: {message}"):
        Shards(tmp_path, ["a.tar"])


def test_patterns_do_not_run_commands(tmp_path):
    """webdataset's own readers would run what follows "pipe:"."""
    with pytest.raises(DataError, match="cannot be read: No such file"):
        Shards(tmp_path, [f"pipe:touch {tmp_path / 'ran'}"])
    assert not (tmp_path / "ran").exists()
