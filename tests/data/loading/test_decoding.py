import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.loading.decoding import (
    MAX_PIXELS,
    depth_of,
    largest_value,
    open_image,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.errors import DataError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Image.DecompressionBombError("huge"), "a.png: more pixels than Pillow allows: huge"),
        (
            UnidentifiedImageError("?"),
            "a.png: not an image in one of the formats JPEG, PNG, BMP, GIF, PPM, TIFF, WEBP",
        ),
        (PermissionError(13, "no"), "a.png: no permission to read this file"),
        (OSError("truncated"), "a.png: damaged or truncated: truncated"),
        (SyntaxError("broken PNG"), "a.png: damaged or truncated: broken PNG"),
        (struct.error("short"), "a.png: damaged or truncated: short"),
        (zlib.error("bad"), "a.png: damaged or truncated: bad"),
        (TypeError("odd"), "a.png: damaged or truncated: odd"),
        (DataError("our own"), "our own"),
    ],
)
def test_every_error_of_a_decoder_names_the_file(error, text):
    with pytest.raises(DataError) as raised, pillow_errors("a.png"):
        raise error
    assert str(raised.value) == text


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_not_about_the_file_passes(error):
    with pytest.raises(error), pillow_errors("a.png"):
        raise error


def test_the_limit_counts_pixels():
    assert MAX_PIXELS == DataConfig().max_pixels == ImageDataConfig().max_pixels == 50_000_000
    refuse_too_large(40, 25, 1000, "a.png")
    with pytest.raises(DataError, match=r"^a.png: 40 x 25 pixels are more than .* \(999\)"):
        refuse_too_large(40, 25, 999, "a.png")


@pytest.mark.parametrize("limit", [300, 30])  # of Pillow, for a warning and for an error
def test_the_limit_of_pixels_is_ours_alone(tmp_path, monkeypatch, limit):
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)

    def read(_):
        with (tmp_path / "a.png").open("rb") as stream:
            return open_image(stream, "a.png", max_pixels=400).size

    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        assert set(pool.map(read, range(200))) == {(20, 20)}
    assert limit == Image.MAX_IMAGE_PIXELS
    with (
        (tmp_path / "a.png").open("rb") as stream,
        pytest.raises(DataError, match="20 x 20 pixels"),
    ):
        open_image(stream, "a.png", max_pixels=399)


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


SOLID = [
    *(
        ("JPEG", mode, options)
        for mode in ("L", "RGB", "CMYK")
        for options in (
            {"quality": 1},
            {"quality": 1, "progressive": True},
            {"quality": 1, "optimize": True},
            {"quality": 1, "subsampling": "4:4:4"},
            {"quality": 1, "subsampling": "4:2:0"},
        )
    ),
    *(("PNG", mode, {"compress_level": 9}) for mode in ("1", "L", "P", "RGB", "RGBA", "I;16")),
    *((kind, "RGB", {}) for kind in ("BMP", "GIF", "PPM", "TIFF", "WEBP")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits")),
    *((kind, "1", {}) for kind in ("PNG", "BMP", "TIFF", "PPM")),
    ("TIFF", "1", {"compression": "group4"}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), SOLID)
def test_the_smallest_files_that_there_are_are_long_enough(kind, mode, options):
    """One colour, of which nothing compresses better."""
    image = Image.new(mode, (3001, 2003))
    content = encoded(image, kind, **options)
    with open_image(io.BytesIO(content), "a") as found:
        assert found.size == (3001, 2003)
        assert to_rgb(found).shape == (2003, 3001, 3)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("BMP", "L")]
)
def test_a_file_too_short_for_its_pixels_is_refused_by_its_header(kind, mode):
    content = bytearray(encoded(Image.new(mode, (40, 24)), kind))
    place, form = {
        "JPEG": (content.find(b"\xff\xc0") + 5, ">HH"),
        "PNG": (16, ">II"),
        "BMP": (18, "<ii"),
    }[kind]
    content[place : place + struct.calcsize(form)] = struct.pack(form, 6000, 6000)
    if kind == "PNG":
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    reason = "damaged or truncated: \\d+ bytes are too few for 6000 x 6000 pixels, which take \\d+"
    with pytest.raises(DataError, match=f"a.jpg: {reason}"):
        open_image(io.BytesIO(content), "a.jpg")
    with pytest.raises(DataError, match=f"a.jpg: {reason}"):
        EncodedImage(bytes(content), "a.jpg")


@pytest.mark.parametrize(
    "kind", ["EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "DDS", "ICNS", "JPEG2000"]
)
def test_formats_that_are_not_meant_are_no_images(kind):
    with pytest.raises(DataError, match="a.png: not an image in one of the formats JPEG, PNG, BMP"):
        EncodedImage(encoded(Image.new("RGB", (32, 32)), kind), "a.png")


def test_depths_are_those_of_cameras():
    assert [depth_of(value) for value in (0, 255, 256, 1023, 4095, 4096, 65535)] == [
        *(8, 8, 10, 10, 12, 14, 16)
    ]
    twelve = Image.fromarray(np.array([[0, 4095, 2048, 65535]], dtype=np.uint16))
    assert largest_value(twelve) == 65535 and largest_value(Image.new("L", (1, 1))) is None
    assert to_rgb(twelve, 12)[..., 0].tolist() == [[0, 255, 128, 255]]
    darker = Image.fromarray(np.array([[0, 4095, 2048]], dtype=np.uint16))
    assert to_rgb(darker)[..., 0].tolist() == [[0, 255, 128]]
    assert to_rgb(darker, 16)[..., 0].tolist() == [[0, 16, 8]]  # what 12 bits become in 16


def test_wide_channels_are_scaled_and_not_clipped():
    wide = Image.fromarray(np.array([[0, 65535, 32768]], dtype=np.uint16))
    assert to_rgb(wide)[..., 0].tolist() == [[0, 255, 128]]
    floats = Image.fromarray(np.array([[-1.0, 3.0, 1.0]], dtype=np.float32))
    assert to_rgb(floats)[..., 0].tolist() == [[0, 255, 128]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.putpixel((1, 0), 1)
    assert to_rgb(palette).tolist() == [[[0, 0, 0], [9, 8, 7]]]
