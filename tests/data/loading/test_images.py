import io
import os

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from resnet_backbone.data.loading.images import read_image
from resnet_backbone.errors import DataError

H, W = 10, 16


@pytest.fixture
def pixels():
    """Smooth, so that JPEG keeps it; no symmetry, so that every orientation differs."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([x * 15, y * 25, (x + y) * 9], axis=-1).astype(np.uint8)


def read(file, **options):
    image = read_image(file, **options)
    assert image.dtype.is_floating_point is False and image.shape[0] == 3
    return image.permute(1, 2, 0).numpy()


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr"]


def save(tmp_path, image, orientation=None):
    suffix = ".tif" if image.mode in ("CMYK", "YCbCr", "I;16", "F", "I") else ".png"
    file = tmp_path / f"image{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(file, exif=exif)
    return file


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_orientation_becomes_rgb(tmp_path, pixels, mode, orientation):
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        expected = np.repeat(pixels[..., :1], 3, axis=2)
    else:
        image = Image.fromarray(pixels).convert(mode)
        expected = np.array(image.convert("RGB"))
    file = save(tmp_path, image, orientation)
    stored = Image.fromarray(expected)
    stored.getexif()[0x0112] = orientation or 1
    turned = np.array(ImageOps.exif_transpose(stored))  # Pillow's own rule
    # YCbCr is stored as TIFF's own YCbCr, whose way to RGB rounds once more.
    tolerance = 2 if mode == "YCbCr" else 0
    assert np.abs(read(file, exif="ignore").astype(int) - expected).max() <= tolerance
    assert np.abs(read(file, exif="apply").astype(int) - turned).max() <= tolerance


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_auto_chooses_the_orientation_that_has_the_annotated_size(tmp_path, pixels, orientation):
    file = save(tmp_path, Image.fromarray(pixels), orientation)
    assert read(file, size=(H, W)).shape == (H, W, 3)
    assert np.array_equal(read(file, size=(H, W)), read(file, exif="ignore"))
    assert np.array_equal(read(file, size=(W, H)), read(file, exif="apply"))
    assert np.array_equal(read(file), read(file, exif="apply"))
    with pytest.raises(DataError, match="10 x 16 pixels, but the annotations say 16 x 10"):
        read(file, size=(H, W), exif="apply")


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 128, 40000, 65535]], dtype=np.uint16)
    file = save(tmp_path, Image.fromarray(values))
    assert read(file)[0, :, 0].tolist() == [0, 0, 156, 255]


def test_floats_are_scaled_by_their_own_range(tmp_path):
    values = np.array([[-1.0, 0.0, 1.0, np.nan]], dtype=np.float32)
    file = save(tmp_path, Image.fromarray(values))
    assert read(file)[0, :, 1].tolist() == [0, 128, 255, 128]


def test_integers_beyond_sixteen_bits_too(tmp_path):
    values = np.array([[0, 10**6]], dtype=np.int32)
    assert read(save(tmp_path, Image.fromarray(values)))[0, :, 2].tolist() == [0, 255]


def test_a_palette_with_transparency(tmp_path, pixels):
    image = Image.fromarray(pixels).convert("P")
    image.save(tmp_path / "p.png", transparency=bytes(range(256)))
    assert np.array_equal(read(tmp_path / "p.png"), np.array(image.convert("RGB")))


def test_a_wrong_size_names_both(tmp_path, pixels):
    file = save(tmp_path, Image.fromarray(pixels))
    with pytest.raises(DataError, match=r"image.png: 16 x 10 pixels, but .* say 17 x 10"):
        read_image(file, size=(10, 17))


def test_missing_and_irregular_files(tmp_path):
    with pytest.raises(DataError, match=r"no.png: no such image"):
        read_image(tmp_path / "no.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "."):
        with pytest.raises(DataError, match="not a regular file"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_not_an_image(tmp_path, content):
    file = tmp_path / "x.jpg"
    file.write_bytes(content)
    with pytest.raises(DataError, match="x.jpg: (not an image|damaged)"):
        read_image(file)


@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_truncated_at_any_length(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=suffix)
    file = tmp_path / f"cut.{suffix}"
    for length in range(0, len(buffer.getvalue()) - 16, 97):
        file.write_bytes(buffer.getvalue()[:length])
        with pytest.raises(DataError, match="cut"):
            read_image(file)


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "tiff", "webp"])
def test_damaged_images_are_read_or_refused(tmp_path, pixels, suffix):
    """No other exception, whatever byte is wrong; sizes may lie, so the cap is low."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=suffix)
    rng = np.random.default_rng(1)
    file = tmp_path / f"damaged.{suffix}"
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        file.write_bytes(content)
        try:
            assert read_image(file, max_pixels=10_000).shape[0] == 3
        except DataError as error:
            assert str(file) in str(error)


def test_the_pixel_cap_is_read_from_the_header(tmp_path, pixels):
    file = tmp_path / "big.png"
    Image.fromarray(pixels).save(file)
    cap = H * W
    assert read_image(file, max_pixels=cap).shape == (3, H, W)
    with pytest.raises(DataError, match=r"16 x 10 pixels are more than data.max_pixels.*\(159\)"):
        read_image(file, max_pixels=cap - 1)


def test_a_bomb_is_refused_undecoded(tmp_path):
    """The header says 100 gigapixels; there is no pixel behind it."""
    file = tmp_path / "bomb.png"
    chunks = io.BytesIO()
    chunks.write(b"\x89PNG\r\n\x1a\n")
    header = (2**18).to_bytes(4, "big") + (400_000).to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    PngImagePlugin.putchunk(chunks, b"IHDR", header)
    PngImagePlugin.putchunk(chunks, b"IDAT", b"")
    PngImagePlugin.putchunk(chunks, b"IEND", b"")
    file.write_bytes(chunks.getvalue())
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match="bomb.png: 262144 x 400000 pixels are more than data.max_"):
        read_image(file)
    assert before == Image.MAX_IMAGE_PIXELS
