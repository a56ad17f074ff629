"""How many of 16 bits the images of a dataset use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnet_backbone.data.loading.decoding import BitDepth, depth_of
from resnet_backbone.data.loading.headers import read_all, read_largest_value


def find_bit_depth(
    files: Sequence[Path], total: int, *, max_pixels: int
) -> tuple[BitDepth, list[str]]:
    """Returns the depth for `read_image`, one for all images, and lines for the log.

    Cameras and scanners put 10, 12 or 14 bits into 16; by the range of the type, such images would
    be nearly black.

    Args:
        files: The images whose single channel has more than 8 bits; their pixels are read.
        total: The number of all images, for the message.
        max_pixels: Images with more pixels do not count, as those that cannot be read.
    """
    if not files:
        return "auto", []

    def read(index: int) -> int | None:
        with files[index].open("rb") as stream:
            return read_largest_value(stream, str(files[index]), max_pixels=max_pixels)

    found = read_all(len(files), read, "values of 16 bits")
    values = [value for value in found if isinstance(value, int)]
    note = f"{len(files)} of {total} images have more than 8 bits per pixel"
    if not values:
        return "auto", [f"{note} and are scaled by the range of values in each image"]
    largest = max(values)
    depth = depth_of(largest)
    return depth, [
        f"{note}: their largest value is {largest}, so {depth} bits are taken as the range from "
        "black to white; data.bit_depth sets it"
    ]
