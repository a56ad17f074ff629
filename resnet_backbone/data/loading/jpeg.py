"""From the bytes of an image file to uint8 RGB pixels, as fast as libjpeg-turbo reads JPEGs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from resnet_backbone.data.loading.decoding import (
    open_image,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.data.loading.jpeg_header import JpegHeader, read_header

T = TypeVar("T")


class EncodedImage:
    """An image file of which the header alone has been read.

    Any format that Pillow reads will do, whatever the file is called; ImageNet has a PNG and some
    CMYK files among its JPEGs. Images are not turned as their EXIF orientation says: ImageNet's
    labels and everybody's results are for images as they are stored.

    Args:
        data: The whole file.
        name: For messages.
        max_pixels: Larger images are refused, before a pixel is decoded.

    Attributes:
        height: In pixels.
        width: In pixels.

    Raises:
        DataError: no image, damaged, or too large.
    """

    def __init__(self, data: bytes, name: str, *, max_pixels: int = 100_000_000) -> None:
        self._data, self._name = data, name
        self._header = read_header(data)
        if self._header is not None:
            self.height, self.width = self._header.height, self._header.width
        else:
            self.width, self.height = self._by_pillow(lambda image: image.size)
        refuse_too_large(self.width, self.height, max_pixels, name)

    def pixels(self, rows: int | None = None) -> Tensor:
        """Returns uint8[3, H, W], RGB, in memory row by row of RGB.

        Args:
            rows: How many are wanted, from the top: H may be less than the image's height, but not
                than this. Saves the time for the others where the format allows it.

        Raises:
            DataError: damaged, or cut short.
        """
        if self._header is not None:
            found = _decode_jpeg(self._data, self._header, rows or self.height)
            if found is not None:
                return found
        return self._by_pillow(lambda image: torch.from_numpy(to_rgb(image)).permute(2, 0, 1))

    def _by_pillow(self, read: Callable[[Image.Image], T]) -> T:
        with pillow_errors(self._name), open_image(io.BytesIO(self._data)) as image:
            return read(image)


def decode_image(data: bytes, name: str, *, max_pixels: int = 100_000_000) -> Tensor:
    """Returns uint8[3, H, W], RGB, all of an `EncodedImage`, which says more.

    Raises:
        DataError: no image, damaged, cut short, or too large.
    """
    return EncodedImage(data, name, max_pixels=max_pixels).pixels()


def _decode_jpeg(data: bytes, header: JpegHeader, rows: int) -> Tensor | None:
    """Returns `EncodedImage.pixels`; None where Pillow shall have the last word.

    simplejpeg is strict, and refuses stray bytes that others pass over and that ImageNet has; or it
    is not, and takes a file that is cut short. So it is not, and the end is looked for here.
    """
    from simplejpeg import decode_jpeg

    if not header.is_complete(data):
        return None
    try:
        pixels = decode_jpeg(header.shortened(data, rows) or data, strict=False)
    except ValueError:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
