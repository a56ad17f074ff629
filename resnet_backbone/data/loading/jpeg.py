"""Decodes an image file to uint8 RGB pixels; JPEGs with libjpeg-turbo, for speed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from resnet_backbone.data.loading.decoding import (
    MAX_PIXELS,
    BitDepth,
    largest_value,
    open_image,
    pillow_errors,
    refuse_too_large,
    to_rgb,
)
from resnet_backbone.data.loading.jpeg_header import JpegHeader, read_header

T = TypeVar("T")


class EncodedImage:
    """An image file whose header has been read, but not its pixels.

    It may have any format that Pillow reads, whatever its name: ImageNet has a PNG and some CMYK
    files among its JPEGs. The EXIF orientation is ignored, because ImageNet's labels and all
    published results are for images as they are stored.

    Args:
        data: The content of the file.
        name: The image's name in messages.
        max_pixels: Images with more pixels are rejected without decoding them.
        bit_depth: The range of channels of more than 8 bits, see `read_image`.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.

    Raises:
        DataError: the file is not an image, damaged, or too large.
    """

    def __init__(
        self,
        data: bytes,
        name: str,
        *,
        max_pixels: int = MAX_PIXELS,
        bit_depth: BitDepth = "auto",
    ) -> None:
        self._data, self._name = data, name
        self._max_pixels, self._bit_depth = max_pixels, bit_depth
        self._header = read_header(data)
        # Others, and files that are too short, are Pillow's, which says what is wrong with them.
        if self._header is not None and len(data) < self._header.least_bytes:
            self._header = None
        if self._header is not None:
            self.height, self.width = self._header.height, self._header.width
            refuse_too_large(self.width, self.height, max_pixels, name)
        else:
            self.width, self.height = self._by_pillow(lambda image: image.size)

    def pixels(self, rows: int | None = None) -> Tensor:
        """Returns uint8[3, H, W], RGB, stored as [H, W, 3].

        Args:
            rows: The number of rows that are needed, from the top; None for all. At least this many
                are returned. Where the format allows it, the others are not decoded.

        Raises:
            DataError: the image is damaged or truncated.
        """
        if self._header is not None:
            found = _decode_jpeg(self._data, self._header, rows or self.height)
            if found is not None:
                return found
        return self._by_pillow(self._decoded)

    def largest_value(self) -> int | None:
        """Returns the largest value of an image of 16 bits, None for others.

        Raises:
            DataError: the image is damaged or truncated.
        """
        return None if self._header is not None else self._by_pillow(largest_value)

    def _decoded(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(to_rgb(image, self._bit_depth)).permute(2, 0, 1)

    def _by_pillow(self, read: Callable[[Image.Image], T]) -> T:
        stream, limit = io.BytesIO(self._data), self._max_pixels
        with (
            pillow_errors(self._name),
            open_image(stream, self._name, max_pixels=limit) as image,
        ):
            return read(image)


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Returns the whole image as uint8[3, H, W], RGB, see `EncodedImage`.

    Raises:
        DataError: the file is not an image, damaged, truncated, or too large.
    """
    return EncodedImage(data, name, max_pixels=max_pixels).pixels()


def _decode_jpeg(data: bytes, header: JpegHeader, rows: int) -> Tensor | None:
    """Returns `EncodedImage.pixels`; None if Pillow has to decode the image.

    simplejpeg in strict mode rejects stray bytes that other decoders ignore and that occur in
    ImageNet. In non-strict mode it accepts truncated files. So it runs non-strict, and truncation
    is detected here.
    """
    from simplejpeg import decode_jpeg

    if not header.is_complete(data):
        return None
    try:
        pixels = decode_jpeg(header.shortened(data, rows) or data, strict=False)
    except ValueError:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
