import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from resnet_backbone.data.loading.decoding import (
    open_image,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.errors import DataError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Image.DecompressionBombError("huge"), "a.png: more pixels than Pillow allows: huge"),
        (UnidentifiedImageError("?"), "a.png: not an image, or of an unknown format"),
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
    refuse_too_large(40, 25, 1000, "a.png")
    with pytest.raises(DataError, match=r"^a.png: 40 x 25 pixels are more than .* \(999\)"):
        refuse_too_large(40, 25, 999, "a.png")


def test_large_images_are_opened_without_pillows_warning(tmp_path, monkeypatch):
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # which 400 pixels exceed, but not twice
    with warnings.catch_warnings(), (tmp_path / "a.png").open("rb") as stream:
        warnings.simplefilter("error")
        assert open_image(stream).size == (20, 20)


def test_wide_channels_are_scaled_and_not_clipped():
    wide = Image.fromarray(np.array([[0, 65535, 32768]], dtype=np.uint16))
    assert to_rgb(wide)[..., 0].tolist() == [[0, 255, 128]]
    floats = Image.fromarray(np.array([[-1.0, 3.0, 1.0]], dtype=np.float32))
    assert to_rgb(floats)[..., 0].tolist() == [[0, 255, 128]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.putpixel((1, 0), 1)
    assert to_rgb(palette).tolist() == [[[0, 0, 0], [9, 8, 7]]]
