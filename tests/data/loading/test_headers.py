"""Headers, and that reading images neither starts processes nor opens anything else."""

import io
import os
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from resnet_backbone.data.loading.headers import (
    ImageHeader,
    must_rotate,
    read_all,
    read_file_header,
    read_image_header,
    read_largest_value,
    refuse_other_size,
)
from resnet_backbone.errors import DataError


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_as_stored(kind, orientation):
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 12)).save(content, kind, exif=exif)
    header = read_image_header(content, "a")
    assert header == ImageHeader(12, 20, orientation, wide=False)
    assert header.upright == ((20, 12) if orientation > 4 else (12, 20))


def test_the_size_in_the_annotations_decides_with_auto_alone():
    turned, square = ImageHeader(12, 20, 6, False), ImageHeader(12, 12, 6, False)
    assert not must_rotate("auto", turned, (12, 20))
    assert must_rotate("auto", turned, (20, 12)) and must_rotate("auto", turned, None)
    assert must_rotate("auto", square, (12, 12)) and must_rotate("apply", turned, (12, 20))
    assert not must_rotate("ignore", turned, (20, 12))
    refuse_other_size(turned, "apply", None, "a.jpg")
    expected = r"^a.jpg: 12 x 20 pixels, but the annotations say 20 x 12 \(data.exif is apply\)$"
    with pytest.raises(DataError, match=expected):
        refuse_other_size(turned, "apply", (12, 20), "a.jpg")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="absent.jpg: cannot be read: No such file"):
        read_file_header(tmp_path / "absent.jpg")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="a.jpg: not an image"):
        read_file_header(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="b: not an image"):
        read_largest_value(io.BytesIO(b"x"), "b")


def test_results_keep_their_order_and_errors_their_place():
    def read(index):
        if index % 7 == 3:
            raise DataError(str(index))
        return index * 2

    found = read_all(1000, read, "numbers")
    assert [str(each) if index % 7 == 3 else each for index, each in enumerate(found)] == [
        str(index) if index % 7 == 3 else index * 2 for index in range(1000)
    ]
    assert read_all(0, read, "nothing") == []


WATCHED = """
    import io, os, pathlib, sys, tarfile
    folder = pathlib.Path(sys.argv[1])
    eps = (
        b"%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 9 9\\n%%EndComments\\nshowpage\\n%%EOF\\n"
    )
    from PIL import Image
    from resnet_backbone.data.labelled.image_folder import ImageFolder
    from resnet_backbone.data.labelled.in_memory_sources import read_class_folders
    from resnet_backbone.data.labelled.dataset import ClassificationDataset
    from resnet_backbone.data.labelled.shards import Shards
    from resnet_backbone.data.loading.headers import read_file_header
    from resnet_backbone.data.loading.images import read_image
    from resnet_backbone.errors import DataError
    from resnet_backbone.data.loading.any_image import read_picture

    names = [f"a/{name}" for name in ("x.jpg", "x.png", "x.bmp", "x.tif", "x.webp", "x.gif")]
    (folder / "a").mkdir()
    for name in names:
        (folder / name).write_bytes(eps)
    with tarfile.open(folder / "s.tar", "w") as shard:
        for name, content in (("x.jpg", eps), ("x.cls", b"0")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    sources = ImageFolder([folder]), Shards(folder, ["s.tar"], class_names=["a"])
    Image.init()
    seen = []

    def watch(event, arguments):
        mode = arguments[1] if event == "open" else None
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        started = ("subprocess", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket")
        if writes or event.startswith(started):
            seen.append((event, str(arguments)))

    sys.addaudithook(watch)
    ways = [
        *(lambda name=name: read_image(folder / name) for name in names),
        *(lambda name=name: read_file_header(folder / name) for name in names),
        *(lambda s=s: ClassificationDataset(s).test_sample(0) for s in sources),
        lambda: read_class_folders([folder]),
        lambda: read_picture(Image.open(folder / names[0]), exif="auto", max_pixels=9, bit_depth=8),
    ]
    for way in ways:
        try:
            way()
        except DataError as error:
            assert "not an image in one of the formats" in str(error), error
        else:
            raise AssertionError("it was read")
    assert not seen, seen
    # The hook does see what Pillow does where it is not told which formats are meant.
    try:
        Image.open(folder / names[0]).load()
    except Exception:
        pass
    assert any(event == "subprocess.Popen" for event, _ in seen), seen
"""


def test_an_eps_under_the_name_of_an_image_starts_nothing(tmp_path):
    """Pillow would run Ghostscript; a stand-in for it is on the path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WATCHED), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
