"""Truncated files, and files with bytes behind their end, against what decoding them says."""

import io

import numpy as np
import pytest
from PIL import Image

from resnet_backbone.data.loading.decoding import open_image
from resnet_backbone.data.loading.file_end import has_its_end
from resnet_backbone.data.loading.headers import read_image_header
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.errors import DataError

WAYS = {
    "JPEG": {},
    "progressive JPEG": {"progressive": True},
    "PNG": {},
    "GIF": {},
    "WEBP": {},
    "TIFF": {},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "BMP": {},
}


def encoded(way):
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    content = io.BytesIO()
    kind = way.split(",")[0].split()[-1]
    Image.fromarray(pixels).save(content, kind, **WAYS[way])
    return content.getvalue()


def ends(content):
    stream = io.BytesIO(content)
    with open_image(stream, "a") as image:
        place = stream.tell()
        found = has_its_end(stream, image)
    assert stream.closed or stream.tell() == place
    return found


def is_refused(action):
    try:
        action()
    except DataError as error:
        # The directory of a TIFF may lie at its end.
        assert str(error).startswith(("a: damaged or truncated: ", "a: not an image in one"))
        return True
    return False


@pytest.mark.parametrize("way", WAYS)
def test_a_complete_file_has_its_end(way):
    assert ends(encoded(way))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_found_without_decoding_all_files(way, kept):
    content = encoded(way)
    content = content[: int(len(content) * kept)]
    assert is_refused(lambda: EncodedImage(content, "a").pixels())
    assert is_refused(lambda: read_image_header(io.BytesIO(content), "a"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [b"\0", b"trailing bytes\r\n", bytes(5000)])
def test_bytes_behind_the_end_are_no_defect(way, more):
    content = encoded(way) + more
    assert not is_refused(lambda: EncodedImage(content, "a").pixels())
    assert not is_refused(lambda: read_image_header(io.BytesIO(content), "a"))


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_what_lacks_only_its_last_byte_is_refused_if_it_cannot_be_decoded(way):
    content = encoded(way)[:-1]
    refused = is_refused(lambda: EncodedImage(content, "a").pixels())
    assert is_refused(lambda: read_image_header(io.BytesIO(content), "a")) == refused


def test_real_images_are_complete(coco_mini):
    files = sorted((coco_mini / "val2017").iterdir())
    assert files and all(ends(file.read_bytes()) for file in files)
