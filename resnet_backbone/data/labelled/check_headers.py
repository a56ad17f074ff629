"""Looks at the headers of all image files before training."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from resnet_backbone.data.labelled.dataset import Source
from resnet_backbone.data.loading.bit_depth import find_bit_depth
from resnet_backbone.data.loading.decoding import BitDepth
from resnet_backbone.data.loading.headers import ImageHeader, read_all, read_image_header
from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of, refuse_all

logger = logging.getLogger(__name__)


def check_headers(
    sources: Sequence[Source], *, max_pixels: int, skip: bool, bit_depth: BitDepth = "auto"
) -> BitDepth:
    """Reads the header of each image; returns how many of 16 bits are taken as used.

    Args:
        sources: The splits, training images first.
        max_pixels: Images with more pixels are refused.
        skip: Whether to count images that cannot be used instead of raising an error.
        bit_depth: How many bits of 16 are used; "auto" is that of the first source's images.

    Raises:
        DataError: images cannot be used and `skip` is false, or none of a split can be used.
    """
    for source in sources:
        bit_depth = _check(source, max_pixels=max_pixels, skip=skip, bit_depth=bit_depth)
    return bit_depth


def _check(source: Source, *, max_pixels: int, skip: bool, bit_depth: BitDepth) -> BitDepth:
    def read(index: int) -> ImageHeader:
        with source.open(index) as stream:
            return read_image_header(stream, source.names[index], max_pixels=max_pixels)

    total = len(source)
    where = f"{count_of(total, 'image')}, such as {source.names[0]}"
    found = read_all(total, read, "headers of images")
    errors = [str(header) for header in found if isinstance(header, DataError)]
    if errors and (not skip or len(errors) == total):
        advice = "data.on_bad_sample=skip leaves them out"
        if len(errors) == total:
            advice = "there is none that can be read"
        raise DataError(refuse_all(where, errors, total, "image", advice))
    if errors:
        logger.warning("%s: %d cannot be read and are left out", where, len(errors))
    wide = [
        index
        for index, header in enumerate(found)
        if isinstance(header, ImageHeader) and header.wide
    ]
    depth, notes = find_bit_depth(
        [source.names[index] for index in wide],
        lambda place: source.open(wide[place]),
        total,
        max_pixels=max_pixels,
        chosen=bit_depth,
    )
    for note in notes:
        logger.warning("%s: %s", where, note)
    return depth
