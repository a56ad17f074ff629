"""Placement of labels inside the image, with little overlap between them."""

from __future__ import annotations

from collections.abc import Sequence

Rectangle = tuple[float, float, float, float]


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[int, int]], canvas: tuple[int, int]
) -> list[Rectangle]:
    """Returns a rectangle for each label; labels are given in descending importance.

    Each label takes the candidate position at its box that overlaps least with the labels placed
    before. If several are equal, the first of these wins: above the box, inside at its top, below,
    inside at its bottom, then a line further away; each left-aligned, then right-aligned.

    Args:
        boxes: (x0, y0, x1, y1) of the objects in pixels.
        sizes: (width, height) of the labels in pixels.
        canvas: (width, height) of the image in pixels.
    """
    placed: list[Rectangle] = []
    for box, size in zip(boxes, sizes, strict=True):
        places = [_inside(place, canvas) for place in _places(box, size)]
        placed.append(min(places, key=lambda place: sum(_overlap(place, p) for p in placed)))
    return placed


def _places(box: Rectangle, size: tuple[int, int]) -> list[Rectangle]:
    x0, y0, x1, y1 = box
    width, height = size
    return [
        (x, y, x + width, y + height)
        for y in (y0 - height, y0, y1, y1 - height, y0 - 2 * height, y1 + height)
        for x in (x0, x1 - width)
    ]


def _inside(place: Rectangle, canvas: tuple[int, int]) -> Rectangle:
    """Moves a rectangle into the canvas; one that is too large starts at the top left corner."""
    width, height = place[2] - place[0], place[3] - place[1]
    x = max(0.0, min(place[0], canvas[0] - width))
    y = max(0.0, min(place[1], canvas[1] - height))
    return x, y, x + width, y + height


def _overlap(a: Rectangle, b: Rectangle) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
