"""Headers of labelled images, in folders and in shards."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from resnet_backbone.data.labelled.check_headers import check_headers
from resnet_backbone.data.labelled.dataset import Subset
from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.data.labelled.shards import Shards
from resnet_backbone.errors import DataError


def image(largest=None):
    content = io.BytesIO()
    values = np.zeros((12, 20), dtype=np.uint8 if largest is None else np.uint16)
    values[0, 0] = largest or 0
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()


def folder(root, contents):
    for number, content in enumerate(contents):
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (root / "ab"[number % 2] / f"{number}.png").write_bytes(content)
    return ImageFolder([root])


def shards(root, contents):
    root.mkdir(exist_ok=True)
    with tarfile.open(root / "s.tar", "w") as shard:
        for number, content in enumerate(contents):
            for suffix, data in (("png", content), ("cls", str(number % 2).encode())):
                info = tarfile.TarInfo(f"{number}.{suffix}")
                info.size = len(data)
                shard.addfile(info, io.BytesIO(data))
    return Shards(root, ["s.tar"])


@pytest.mark.parametrize("make", [folder, shards])
def test_what_cannot_be_read_is_listed_before_training(tmp_path, caplog, make):
    source = make(tmp_path / "data", [image(), b"x", image(), image()[:20], image()])
    with pytest.raises(
        DataError, match="2 of 5 images cannot be used; .*on_bad_sample=skip"
    ) as caught:
        check_headers([source], max_pixels=1000, skip=False)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all("/" in line and ": " in line for line in lines[1:])
    assert check_headers([source], max_pixels=1000, skip=True) == "auto"
    assert "2 cannot be read and are left out" in caplog.text
    with pytest.raises(DataError, match="5 of 5 images cannot be used"):
        check_headers([source], max_pixels=10, skip=True)
    told = "".join(lines[1:])
    good = Subset(source, np.array([n for n in range(5) if source.names[n] not in told]))
    assert check_headers([good, good], max_pixels=1000, skip=False) == "auto"


@pytest.mark.parametrize("make", [folder, shards])
def test_the_depth_is_that_of_the_training_images(tmp_path, caplog, make):
    train = make(tmp_path / "train", [image(900), image(4000), image()])
    val = make(tmp_path / "val", [image(60_000), image()])
    assert check_headers([train, val], max_pixels=1000, skip=False) == 12
    assert (
        "2 of 3 images have more than 8 bits per pixel: their largest value is 4000" in caplog.text
    )
    assert "their largest value is 60000; 12 bits are taken" in caplog.text
    assert "all values beyond 4095" in caplog.text
    assert check_headers([train, val], max_pixels=1000, skip=False, bit_depth=14) == 14


def test_a_file_that_has_gone(tmp_path):
    source = folder(tmp_path / "data", [image(), image()])
    (tmp_path / "data" / "a" / "0.png").unlink()
    with pytest.raises(DataError, match="0.png: cannot be read: No such file"):
        check_headers([source], max_pixels=1000, skip=False)
