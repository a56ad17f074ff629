"""Checks COCO segmentations before pycocotools gets them: it hangs or crashes on bad ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

MIN_POLYGON_NUMBERS = 6  # a triangle
# Vertices may lie outside the image by at most this multiple of its long side. Further out they are
# not plausible, and COCO's rasteriser would allocate memory for every pixel on the way.
MAX_OVERSHOOT = 2.0
MAX_NUMBER = 1e9
NUMBERS = {int, float}  # by exact type, as bool is a subclass of int but not a coordinate


class BadSegmentation(ValueError):
    """An invalid segmentation; the message says why."""


def parse_polygons(polygons: list[Any], height: int, width: int) -> tuple[list[np.ndarray], int]:
    """Returns the polygons as float64[V, 2] arrays, and how many others had too few vertices.

    Args:
        polygons: Lists of numbers x0, y0, x1, y1, ...
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        BadSegmentation: a polygon contains something else than finite numbers, has an odd number of
            them, or lies far outside the image.
    """
    longest = max(height, width)
    usable, short = [], 0
    for polygon in polygons:
        if not isinstance(polygon, list) or not set(map(type, polygon)) <= NUMBERS:
            raise BadSegmentation(f"got {polygon!r:.60}, expected a polygon, a list of numbers")
        if not finite_numbers(polygon):
            raise BadSegmentation("a polygon contains NaN, infinity or a number beyond 1e9")
        if len(polygon) % 2:
            raise BadSegmentation(f"a polygon has {len(polygon)} numbers, expected an even count")
        if len(polygon) < MIN_POLYGON_NUMBERS:
            short += 1
            continue
        low, high = min(polygon), max(polygon)
        if low < -MAX_OVERSHOOT * longest or high > (1 + MAX_OVERSHOOT) * longest:
            raise BadSegmentation(
                f"a polygon extends from {low:g} to {high:g} in an image of {width} x {height}"
            )
        usable.append(np.array(polygon, dtype=np.float64).reshape(-1, 2))
    return usable, short


def parse_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Returns a run-length encoding in COCO's compressed form.

    Args:
        rle: {"size": [height, width], "counts": a list of runs, or COCO's compressed text}.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        BadSegmentation: the size is not that of the image, or the runs do not add up to it.
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
        raise BadSegmentation("RLE contains a negative run")
    if sum(runs) != height * width:
        raise BadSegmentation(f"RLE runs add up to {sum(runs)}, expected {height * width}")
    uncompressed = {"size": [height, width], "counts": runs}
    return dict(coco_mask.frPyObjects(uncompressed, height, width))


def decode_counts(text: str) -> list[int]:
    """Returns the runs in COCO's compressed text.

    Each character from code 48 on holds a group of 5 bits, lowest group first. Bit 5 says that
    another group follows; bit 4 of the last group is the sign. From the fourth run on, the number
    is the difference to the run before the previous one (cocoapi, common/maskApi.c, rleFrString).

    Raises:
        BadSegmentation: a character is out of range, or the text ends within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise BadSegmentation(f"RLE text contains {character!r}")
        value |= (group & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise BadSegmentation("RLE text contains a number too large for any image")
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise BadSegmentation("RLE text ends within a number")
    return runs


def bounding_box(
    polygons: Sequence[np.ndarray], rle: dict[str, Any] | None
) -> tuple[float, float, float, float]:
    """Returns (x, y, width, height) of polygons, float64[V, 2] each, or of a compressed RLE."""
    if rle is not None:
        x, y, width, height = (float(number) for number in coco_mask.toBbox(rle))
        return x, y, width, height
    corners = np.concatenate(polygons)
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1 - x0, y1 - y0


def finite_numbers(values: object) -> bool:
    """Returns whether `values` is a list of numbers that are valid as coordinates or sizes."""
    if not isinstance(values, list) or not set(map(type, values)) <= NUMBERS:
        return False
    # min and max first, because they can compare integers that are too large for a float. A NaN may
    # pass them, but not the sum.
    within = not values or (min(values) > -MAX_NUMBER and max(values) < MAX_NUMBER)
    return within and math.isfinite(sum(values))
