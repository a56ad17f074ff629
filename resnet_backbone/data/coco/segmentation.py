"""COCO segmentations, checked in Python before pycocotools, which hangs or crashes on bad ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

MIN_POLYGON_NUMBERS = 6  # a triangle
# Corners may lie this many times the image's longer side beyond it; further out they are not
# coordinates, and COCO's rasteriser would walk and allocate along every pixel of the way.
MAX_OVERSHOOT = 2.0
MAX_NUMBER = 1e9
NUMBERS = {int, float}  # bool is an int too, but no coordinate


class BadSegmentation(ValueError):
    """A segmentation that is not well formed; the message says why."""


def parse_polygons(polygons: list[Any], height: int, width: int) -> tuple[list[np.ndarray], int]:
    """Returns the polygons as float64[V, 2] arrays, and how many were too short to be one.

    Args:
        polygons: Lists of numbers x0, y0, x1, y1, ...
        height: Of the image.
        width: Of the image.

    Raises:
        BadSegmentation: not numbers, not finite, an odd count, or far outside the image.
    """
    longest = max(height, width)
    usable, short = [], 0
    for polygon in polygons:
        if not isinstance(polygon, list) or not set(map(type, polygon)) <= NUMBERS:
            raise BadSegmentation(f"got {polygon!r:.60}, expected a polygon, a list of numbers")
        if not finite_numbers(polygon):
            raise BadSegmentation("a polygon holds NaN, infinity or a number beyond 1e9")
        if len(polygon) % 2:
            raise BadSegmentation(f"a polygon has {len(polygon)} numbers, expected an even count")
        if len(polygon) < MIN_POLYGON_NUMBERS:
            short += 1
            continue
        low, high = min(polygon), max(polygon)
        if low < -MAX_OVERSHOOT * longest or high > (1 + MAX_OVERSHOOT) * longest:
            raise BadSegmentation(
                f"a polygon reaches from {low:g} to {high:g} in an image of {width} x {height}"
            )
        usable.append(np.array(polygon, dtype=np.float64).reshape(-1, 2))
    return usable, short


def parse_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Returns the run-length encoding in COCO's compressed form.

    Args:
        rle: {"size": [height, width], "counts": list of runs, or COCO's compressed text}.
        height: Of the image.
        width: Of the image.

    Raises:
        BadSegmentation: the size is not the image's, or the runs do not add up to it.
    """
    if rle.get("size") != [height, width]:
        raise BadSegmentation(f"RLE size is {rle.get('size')!r:.60}, expected {[height, width]}")
    counts = rle.get("counts")
    if isinstance(counts, str):
        runs = decode_counts(counts)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    else:
        raise BadSegmentation(f"RLE counts must be text or integers, got {counts!r:.60}")
    if min(runs, default=0) < 0:
        raise BadSegmentation("RLE holds a negative run")
    if sum(runs) != height * width:
        raise BadSegmentation(f"RLE runs add up to {sum(runs)}, expected {height * width}")
    uncompressed = {"size": [height, width], "counts": runs}
    return dict(coco_mask.frPyObjects(uncompressed, height, width))


def decode_counts(text: str) -> list[int]:
    """Returns the runs of COCO's compressed text.

    Groups of 5 bits, lowest first, each in a character from 48 on; bit 5 says that another group
    follows, bit 4 of the last one is the sign; from the fourth run on, runs are differences to
    the last but one (cocoapi, common/maskApi.c, rleFrString).

    Raises:
        BadSegmentation: a character out of range, or text that ends inside a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise BadSegmentation(f"RLE text holds {character!r}")
        value |= (group & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise BadSegmentation("RLE text holds a number too large for any image")
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise BadSegmentation("RLE text ends inside a number")
    return runs


def finite_numbers(values: object) -> bool:
    """Returns whether `values` is a list of numbers that can be coordinates or sizes."""
    if not isinstance(values, list) or not set(map(type, values)) <= NUMBERS:
        return False
    # First min and max, which compare integers too large for a float; a NaN may slip through them,
    # but through no sum.
    within = not values or (min(values) > -MAX_NUMBER and max(values) < MAX_NUMBER)
    return within and math.isfinite(sum(values))
