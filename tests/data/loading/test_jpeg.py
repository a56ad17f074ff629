import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_backbone.data.loading.jpeg import EncodedImage, decode_image
from resnet_backbone.errors import DataError


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 24)) -> Image.Image:
    rows, columns = np.mgrid[: size[1], : size[0]]
    smooth = np.stack([rows * 5, columns * 4, 255 - rows * 3], -1).astype(np.uint8)
    return Image.fromarray(smooth).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"quality": 75}, {"progressive": True}])
def test_jpegs_of_all_modes_are_pillows(mode, options):
    content = encoded(picture(mode), **options)
    found = decode_image(content, "a.jpg")
    assert found.dtype == torch.uint8 and found.shape == (3, 24, 40)
    # Both use libjpeg-turbo, of different versions: one level of rounding.
    assert abs(found.permute(1, 2, 0).numpy() - pixels(content)).max() <= 1


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("P", "PNG"), ("RGBA", "WEBP")])
def test_other_formats_are_read_whatever_they_are_called(mode, kind):
    content = encoded(picture(mode), kind)
    found = decode_image(content, "n02105855_2933.JPEG").permute(1, 2, 0).numpy()
    assert np.array_equal(found, pixels(content))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:0", "progressive": True},
        {"subsampling": "4:2:0", "restart_marker_blocks": 2},
    ],
)
def test_rows_are_the_same_without_those_below(mode, options):
    noise = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise).convert(mode), **options)
    image, whole = EncodedImage(content, "a.jpg"), decode_image(content, "a.jpg")
    for rows in (1, 8, 15, 16, 17, 33, 64, 89, 90):
        found = image.pixels(rows)
        assert torch.equal(found[:, :rows], whole[:, :rows])
        assert rows <= found.shape[1] <= 90
    if mode == "RGB":  # one unit more than asked for
        assert image.pixels(8).shape[1] <= 32


def test_formats_that_do_not_end_early_give_all_rows():
    image = EncodedImage(encoded(picture(), "PNG"), "a.png")
    assert (image.height, image.width) == (24, 40)
    assert image.pixels(3).shape == (3, 24, 40)


def test_one_pixel_is_an_image():
    assert decode_image(encoded(picture(size=(1, 1))), "a.jpg").shape == (3, 1, 1)


def test_exif_orientation_is_left_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(picture(), exif=exif), "a.jpg").shape == (3, 24, 40)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_files_that_are_cut_short_are_refused(kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG"):
        content = encoded(noise, kind)
        with pytest.raises(DataError, match=r"^cut.jpg: damaged or truncated: \w"):
            decode_image(content[: int(len(content) * kept)], "cut.jpg")


def test_stray_bytes_before_the_end_are_passed_over():
    """As ImageNet has them, and torchvision and Pillow take them."""
    content = encoded(picture())
    found = decode_image(content[:-2] + bytes(40) + content[-2:], "a.jpg")
    assert torch.equal(found, decode_image(content, "a.jpg"))


def test_the_end_of_a_thumbnail_is_not_that_of_the_image():
    content = encoded(picture())
    with_thumbnail = content[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    assert torch.equal(
        decode_image(with_thumbnail + content[2:], "a.jpg"), decode_image(content, "a.jpg")
    )
    with pytest.raises(DataError, match=r"^a.jpg: damaged or truncated"):
        decode_image(with_thumbnail + content[2:-90], "a.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8", b"\xff\xd8\xff\xe0" * 9])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DataError, match=r"^a.jpg: (not an image|damaged)"):
        decode_image(content, "a.jpg")


def test_a_gigapixel_is_refused_by_its_header():
    """The header says 40,000 x 40,000; behind it there is next to nothing to decode."""
    content = bytearray(encoded(picture()))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 40_000, 40_000)
    with pytest.raises(DataError, match=r"^big.jpg: (40000 x 40000 pixels|more pixels than)"):
        decode_image(bytes(content), "big.jpg")
    with pytest.raises(DataError, match=r"40 x 24 pixels are more than data.max_pixels .*\(959\)"):
        decode_image(encoded(picture()), "a.jpg", max_pixels=959)


def test_flipped_bits_never_do_worse_than_an_error():
    content, rng = encoded(picture(size=(40, 90))), np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        for place in rng.integers(len(content), size=3):
            broken[place] ^= 1 << rng.integers(8)
        try:
            image = EncodedImage(bytes(broken), "a.jpg", max_pixels=10_000)
            found = image.pixels(rows=1 + image.height // 2)
        except DataError:
            continue
        assert found.shape[1] > image.height // 2 and found.shape[2] == image.width
