import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_backbone.data.labelled.in_memory_sources import read_cifar, read_class_folders
from resnet_backbone.errors import DataError


def jpeg(color: int, side: int = 8) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), (color, 255 - color, 0)).save(content, "JPEG")
    return content.getvalue()


def fill(root: Path, classes: str = "ab", count: int = 3) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(jpeg(100 * label + number))
    return root


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, f"train/{path.relative_to(folder)}")
    return file


def test_folders_and_zips_hold_the_same(tmp_path):
    folder = fill(tmp_path / "images")
    from_folder = read_class_folders([folder])
    from_zip = read_class_folders([zipped(folder, tmp_path / "images.zip")])
    assert from_folder.class_names == from_zip.class_names == ("a", "b")
    assert from_folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(from_folder.images, from_zip.images)
    assert from_folder.images.shape == (6, 3, 8, 8) and from_folder.images.dtype == torch.uint8
    expected = np.asarray(Image.open(folder / "b" / "2.jpg"))
    # Two decoders of the same library, which may differ in how they upsample colour: one level.
    got = from_folder.images[5].permute(1, 2, 0).numpy().astype(int)
    assert abs(got - expected).max() <= 1


def test_several_sources_are_joined(tmp_path):
    one, two = fill(tmp_path / "one", "ac"), fill(tmp_path / "two", "bc")
    both = read_class_folders([one, zipped(two, tmp_path / "two.zip")])
    assert both.class_names == ("a", "b", "c")
    assert both.labels.tolist() == [0] * 3 + [2] * 3 + [1] * 3 + [2] * 3
    assert "two.zip" in both.names[-1]


def test_classes_must_be_those_of_the_training_images(tmp_path):
    folder = fill(tmp_path, "ab")
    assert read_class_folders([folder], class_names=["b", "a"]).labels.tolist() == [1] * 3 + [0] * 3
    with pytest.raises(DataError, match=r"1 missing \(c\), 1 unknown \(b\)"):
        read_class_folders([folder], class_names=["a", "c"])


def test_images_in_no_class_folder_are_named(tmp_path):
    """Their class would be the name of the zip."""
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.writestr("0.jpg", jpeg(0))
    fill(tmp_path / "images")
    (tmp_path / "images" / "loose.jpg").write_bytes(jpeg(0))
    for source, name in (("flat.zip", "0.jpg"), ("images", "loose.jpg")):
        with pytest.raises(DataError, match=f"{source}/{name}: not in a class folder"):
            read_class_folders([tmp_path / source])


def test_what_macos_puts_beside_images_is_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        for name, content in (("a/0.jpg", jpeg(0)), ("__MACOSX/a/._0.jpg", b"Mac OS X")):
            archive.writestr(name, content)
    assert read_class_folders([tmp_path / "mac.zip"]).class_names == ("a",)


def test_images_of_other_sizes_are_named(tmp_path):
    fill(tmp_path)
    (tmp_path / "b" / "9.jpg").write_bytes(jpeg(3, side=16))
    with pytest.raises(DataError, match=r"b/9.jpg: 16 x 16 pixels, but .*a/0.jpg has 8 x 8"):
        read_class_folders([tmp_path])


def test_damaged_images_are_errors_or_listed(tmp_path):
    fill(tmp_path)
    (tmp_path / "a" / "1.jpg").write_bytes(jpeg(1)[:300])
    with pytest.raises(DataError, match=r"a/1.jpg"):
        read_class_folders([tmp_path])
    found = read_class_folders([tmp_path], on_bad_sample="skip")
    assert len(found) == 5 and len(found.skipped) == 1 and "a/1.jpg" in found.skipped[0]


def test_damaged_zips_are_named(tmp_path):
    file = zipped(fill(tmp_path / "images"), tmp_path / "images.zip")
    content = file.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut.zip: not a zip file, or damaged"):
        read_class_folders([tmp_path / "cut.zip"])
    place = content.index(b"\xff\xd8") + 200  # within the first image, whose checksum then differs
    broken = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
    (tmp_path / "broken.zip").write_bytes(broken)
    with pytest.raises(DataError, match=r"broken.zip/train/a/0.jpg: cannot be read: Bad CRC-32"):
        read_class_folders([tmp_path / "broken.zip"])


def test_a_zip_cannot_unpack_to_gigabytes(tmp_path):
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.jpg", bytes(65 * 2**20))
    with pytest.raises(DataError, match="68157440 bytes are more than the limit of 67108864"):
        read_class_folders([file])


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(DataError, match="no such folder or zip"):
        read_class_folders([tmp_path / "absent"])
    with pytest.raises(DataError, match=r"no images \(.bmp, .gif"):
        read_class_folders([tmp_path])


def test_all_that_cannot_be_read_is_the_reason(tmp_path):
    fill(tmp_path, count=1)
    for file in tmp_path.rglob("*.jpg"):
        file.write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"no images .* that can be read; 2 cannot: .*0.jpg: not an"
    ):
        read_class_folders([tmp_path], on_bad_sample="skip")


def test_folders_inside_class_folders_are_of_their_class(tmp_path, caplog):
    fill(tmp_path / "images")
    for name in ("a/more/9.jpg", ".ipynb_checkpoints/8.jpg", "a/.cache/7.jpg", "b/notes.txt"):
        file = tmp_path / "images" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(jpeg(9))
    (tmp_path / "images" / "circle").symlink_to("circle")
    found = read_class_folders([tmp_path / "images"])
    assert found.class_names == ("a", "b") and found.labels.tolist() == [0] * 4 + [1] * 3
    assert "7 images, 2 classes; left out 1 x .txt file, 2 x hidden folder" in caplog.text
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "images").rglob("*.jpg")):
            archive.write(path, f"train/{path.relative_to(tmp_path / 'images')}")
    zipped_ = read_class_folders([tmp_path / "images.zip"])
    assert zipped_.class_names == ("a", "b") and torch.equal(zipped_.images, found.images)


@pytest.mark.parametrize("bit_depth", ["auto", 16])
def test_the_range_of_sixteen_bits_is_that_of_all_images(tmp_path, caplog, bit_depth):
    for name, value in (("a", 4095), ("b", 300)):
        (tmp_path / name).mkdir()
        values = np.full((8, 8), value, dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / name / "0.png")
    found = read_class_folders([tmp_path], bit_depth=bit_depth).images.amax(dim=(1, 2, 3))
    assert found.tolist() == ([255, 19] if bit_depth == "auto" else [16, 1])
    assert (bit_depth == "auto") == ("largest value is 4095, so 12 bits are taken" in caplog.text)


def test_cifar_that_is_not_there_or_damaged_is_said(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR-10 is missing or damaged; .*download=True"):
        read_cifar(tmp_path, "train", 10)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(pickle.dumps({}))  # not as published: nothing unpickles it
    with pytest.raises(DataError, match="CIFAR-10 is missing or damaged"):
        read_cifar(tmp_path, "val", 10)


def test_cifar_comes_as_torchvision_reads_it(tmp_path, monkeypatch):
    """With torchvision's checksums out of the way: the published files cannot be had here."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (5, 3072), dtype=np.uint8)
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [3, 1, 2, 0, 9]}))
    names = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    train, val = read_cifar(tmp_path, "train", 10), read_cifar(tmp_path, "val", 10)
    assert len(train) == 25 and len(val) == 5
    assert np.array_equal(val.images.numpy(), data.reshape(5, 3, 32, 32))
    assert val.labels.tolist() == [3, 1, 2, 0, 9] and val.class_names == tuple(names)
