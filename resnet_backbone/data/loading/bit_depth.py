"""How many of 16 bits the images of a dataset use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from resnet_backbone.data.loading.decoding import BitDepth, depth_of
from resnet_backbone.data.loading.headers import read_all, read_largest_value
from resnet_backbone.utils.text import count_of


def find_bit_depth(
    names: Sequence[str],
    open_file: Callable[[int], BinaryIO],
    total: int,
    *,
    max_pixels: int,
    chosen: BitDepth = "auto",
) -> tuple[BitDepth, list[str]]:
    """Returns the depth for `read_image`, one for all images, and lines for the log.

    Cameras and scanners put 10, 12 or 14 bits into 16; by the range of the type, such images would
    be nearly black.

    Args:
        names: The images whose single channel has more than 8 bits; their pixels are read.
        open_file: Opens one of them.
        total: The number of all images, for the message.
        max_pixels: Images with more pixels do not count, as those that cannot be read.
        chosen: The depth, if it is not to be that of these images.
    """
    if not names:
        return chosen, []

    def read(index: int) -> int | None:
        with open_file(index) as stream:
            return read_largest_value(stream, names[index], max_pixels=max_pixels)

    found = read_all(len(names), read, "values of 16 bits")
    values = [value for value in found if isinstance(value, int)]
    if not values:
        note = f"{_wide(len(names), total)} and are scaled by the range of values in each image"
        return chosen, [note]
    depth = depth_of(max(values)) if chosen == "auto" else chosen
    return depth, [describe_depth(len(names), total, max(values), chosen)]


def describe_depth(count: int, total: int, largest: int, chosen: BitDepth = "auto") -> str:
    """Returns a line for the log on images of 16 bits, and the range that was taken for them.

    Args:
        count: The number of these images.
        total: The number of all images.
        largest: The largest value of all of them.
        chosen: The depth, if it was not to be that of these images.
    """
    found = f"{_wide(count, total)}: their largest value is {largest}"
    if chosen == "auto":
        return (
            f"{found}, so {depth_of(largest)} bits are taken as the range from black to white; "
            "data.bit_depth sets it"
        )
    white = 2**chosen - 1
    beyond = f", as are all values beyond {white}" if largest > white else ""
    return (
        f"{found}; {chosen} bits are taken as the range from black to white (data.bit_depth), so "
        f"{white} is white{beyond}"
    )


def _wide(count: int, total: int) -> str:
    return f"{count} of {count_of(total, 'image')} have more than 8 bits per pixel"
