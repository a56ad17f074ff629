"""From the bytes of an image file to uint8 RGB pixels, as fast as libjpeg-turbo reads JPEGs."""

from __future__ import annotations

import io

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from resnet_backbone.data.images import open_image, to_rgb
from resnet_backbone.errors import DataError

# Of JPEGs, what torchvision converts to RGB as Pillow does; CMYK it does not.
_FAST_MODES = ("RGB", "L")


def decode(data: bytes, name: str, *, max_pixels: int = 100_000_000) -> Tensor:
    """Returns uint8[3, H, W], RGB.

    Any format that Pillow reads will do, whatever the file is called; ImageNet has a PNG and some
    CMYK files among its JPEGs. Images are not turned as their EXIF orientation says: ImageNet's
    labels and everybody's results are for images as they are stored.

    Args:
        data: The whole file.
        name: For messages.
        max_pixels: Larger images are refused from their header, before a pixel is decoded.

    Raises:
        DataError: no image, damaged, cut short, or too large.
    """
    try:
        with open_image(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{name}: {image.width} x {image.height} pixels are more than"
                    f" data.max_pixels allows ({max_pixels})"
                )
            if image.format == "JPEG" and image.mode in _FAST_MODES:
                return _decode_jpeg(data)
            return torch.from_numpy(to_rgb(image)).permute(2, 0, 1)
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: more pixels than Pillow ever reads: {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image, or of an unknown format") from None
    # Decoders raise a little of everything on damaged data: OSError, RuntimeError, SyntaxError, ...
    except Exception as error:
        raise DataError(f"{name}: damaged or cut short: {_first_line(error)}") from error


def _decode_jpeg(data: bytes) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    # A copy: torch refuses to promise that it will not write into bytes.
    content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return decode_jpeg(content, mode=ImageReadMode.RGB)


def _first_line(error: Exception) -> str:
    """What torchvision says ends with where in its source it was said."""
    return str(error).partition("\n")[0].rpartition("cpp:")[2].lstrip("0123456789, ")
