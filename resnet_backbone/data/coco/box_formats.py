"""What the boxes of a file look like, if they do not look like COCO's (x, y, width, height)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np

from resnet_backbone.data.coco.defects import Defect
from resnet_backbone.utils.text import count_of

# COCO rounds to two decimals, so its boxes cross the border by less than a pixel.
BORDER_TOLERANCE = 1.0
# One box that crosses the border is no sign of another format; with fewer than these, only boxes
# that fit the other format without exception are.
ENOUGH_BOXES = 10
MIN_BOXES = 3
MIN_SIDE = 4  # boxes of an image smaller than this, in pixels, may well lie between 0 and 1
FAR = 0.1  # a box that crosses the border by this part of the side was hardly drawn so
# Boxes all lie within this many pixels of the corner if they are in percent; of smaller images
# than `PERCENT_SIDE`, boxes in pixels may do so, too, but hardly end just there in x and in y.
PERCENT, PERCENT_SIDE = 100.0, 200.0
SMALL_PERCENT_SIDE, REACH = 110.0, 0.95
COLUMNS = 7  # four numbers, width, height, area
SAME_AREA = 0.01  # relative difference of an area from the one in the file

_Layout = Callable[[np.ndarray], np.ndarray]  # from a file's numbers to (x0, y0, x1, y1)


def _read(order: Sequence[int], *, centred: bool = False, corners: bool = False) -> _Layout:
    """Returns a function from a file's numbers, float64[N, 4], to (x0, y0, x1, y1).

    Args:
        order: Places of x, y, width and height, or of x0, y0, x1 and y1, among the numbers.
        centred: Whether x and y are the centre.
        corners: Whether the last two are x1 and y1.
    """

    def read(numbers: np.ndarray) -> np.ndarray:
        first, last = numbers[:, order[:2]], numbers[:, order[2:]]
        if corners:
            return np.concatenate((first, last), axis=1)
        start = first - last / 2 if centred else first
        return np.concatenate((start, start + last), axis=1)

    return read


COCO = _read((0, 1, 2, 3))
OTHERS = {
    "(x0, y0, x1, y1)": _read((0, 1, 2, 3), corners=True),
    "(x0, x1, y0, y1)": _read((0, 2, 1, 3), corners=True),
    "(centre x, centre y, width, height)": _read((0, 1, 2, 3), centred=True),
    "(centre y, centre x, height, width)": _read((1, 0, 3, 2), centred=True),
    "(x, y, height, width)": _read((0, 1, 3, 2)),
    "(y, x, height, width)": _read((1, 0, 3, 2)),
    "(y0, x0, y1, x1)": _read((1, 0, 3, 2), corners=True),
}
EXPECTED = "; COCO's format is (x, y, width, height) in pixels"


class BoxFormats:
    """Collects boxes, counts those that cross the border, and says which format they would fit.

    In a file of another format, many boxes cross the border; read in their own format, all fit.
    """

    def __init__(self) -> None:
        self._rows = array("d")

    def add(self, box: Sequence[float], width: int, height: int, area: float | None = None) -> None:
        """Adds a box.

        Args:
            box: Four finite numbers.
            width: Width of the image in pixels.
            height: Height of the image in pixels.
            area: The object's area in the file, if there is one.
        """
        self._rows.extend((*box, width, height, -1.0 if area is None else area))

    def suspicion(self, *, confirmed: bool = False) -> Defect | None:
        """Returns what the boxes look like, with the share that says so; None for COCO's format.

        Args:
            confirmed: Whether outlines show that the boxes have COCO's format.
        """
        numbers, sizes, areas = self._arrays()
        if not len(numbers):
            return None
        percentages = _percentages(numbers, sizes) if len(numbers) >= ENOUGH_BOXES else None
        if percentages:
            return Defect("boxes are percentages", "annotations", percentages + EXPECTED)
        return (
            _fractions(numbers, sizes)
            or (None if confirmed else _by_area(numbers, areas))
            or _by_border(numbers, sizes, confirmed=confirmed)
        )

    def note(self) -> str | None:
        """Returns a line for the log on what boxes look like that may as well have pixels."""
        numbers, sizes, _ = self._arrays()
        if not len(numbers):
            return None
        few = len(numbers) < ENOUGH_BOXES
        percentages = _percentages(numbers, sizes, small=True) or (
            _percentages(numbers, sizes) if few else None
        )
        return percentages and f"{percentages}; they are read as pixels"

    @property
    def crossing(self) -> int:
        """How many boxes cross the border."""
        numbers, sizes, _ = self._arrays()
        return int((_overshoot(COCO(numbers), sizes) > BORDER_TOLERANCE).any(1).sum())

    @property
    def mostly_cross(self) -> bool:
        """Whether more than half of the boxes cross the border."""
        return 2 * self.crossing > len(self._rows) // COLUMNS

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the boxes' numbers, the sizes of their images, and their areas."""
        rows = np.frombuffer(self._rows, dtype=np.float64).reshape(-1, COLUMNS)
        return rows[:, :4], rows[:, 4:6], rows[:, 6]


def almost_all(count: int, total: int) -> bool:
    """Returns whether `count` of `total` boxes are enough to say that they have a format."""
    return count == total or (total >= ENOUGH_BOXES and 20 * count >= 19 * total)


def best_layouts(fits: Callable[[_Layout], np.ndarray]) -> tuple[str, int]:
    """Returns the layouts of `OTHERS` that almost all boxes fit, "" if there is none, and how many.

    Args:
        fits: Takes a layout and returns bool[N], which boxes fit it.
    """
    found = {name: fits(layout) for name, layout in OTHERS.items()}
    counts = {name: int(fit.sum()) for name, fit in found.items()}
    best = max(counts.values())
    total = len(next(iter(found.values())))
    if not almost_all(best, total):
        return "", 0
    return " or ".join(name for name, count in counts.items() if count == best), best


def _fractions(numbers: np.ndarray, sizes: np.ndarray) -> Defect | None:
    within = (numbers >= 0).all(1) & (numbers <= 1).all(1) & (sizes.min(1) >= MIN_SIDE)
    if 2 * within.sum() <= len(numbers):
        return None
    detail = (
        f"{within.sum()} of {_boxes(len(numbers))} lie between 0 and 1, as fractions of the "
        "image's width and height do"
    )
    return Defect("boxes are fractions", "annotations", detail + EXPECTED)


def _percentages(numbers: np.ndarray, sizes: np.ndarray, *, small: bool = False) -> str | None:
    """Boxes in percent fill a corner of all images, up to 100 pixels from it, and nothing else.

    In `small` images this is a sign only if their ends come close to 100, and do not pass it.
    """
    ends, side = COCO(numbers)[:, 2:], sizes.min()
    within = numbers.min() >= 0 and numbers.max() <= PERCENT
    if small:
        within &= SMALL_PERCENT_SIDE <= side < PERCENT_SIDE
        within &= ends.max() <= PERCENT + BORDER_TOLERANCE
    else:
        within &= side >= PERCENT_SIDE
    reached = ends.max(0).min() > (REACH if small else 0.5) * PERCENT
    if len(numbers) < MIN_BOXES or not within or not reached:
        return None
    return (
        f"{len(numbers)} of {len(numbers)} boxes lie between 0 and 100 in images of "
        f"{sizes.min():.0f} pixels or more, as percentages of the image's width and height do"
    )


def _by_area(numbers: np.ndarray, areas: np.ndarray) -> Defect | None:
    """Boxes given by corners may well lie inside the image when read as COCO's, but for `area`."""
    given = areas > 0
    numbers, areas = numbers[given], areas[given]
    width, height = (numbers[:, 2:] - numbers[:, :2]).T
    corners = _is_area(width * height, areas) & (width > 0) & (height > 0)
    sides = _is_area(numbers[:, 2] * numbers[:, 3], areas)
    told = int((corners & ~sides).sum())
    if len(areas) < MIN_BOXES or not told or not almost_all(told, len(areas)):
        return None
    detail = (
        f"{told} of {len(areas)} boxes have this area if they are in the format (x0, y0, x1, y1) "
        "or (y0, x0, y1, x1), and another one otherwise"
    )
    return Defect("boxes do not have their area", "annotations", detail + EXPECTED)


def _is_area(found: np.ndarray, areas: np.ndarray) -> np.ndarray:
    return np.abs(found - areas) <= SAME_AREA * areas


def _by_border(numbers: np.ndarray, sizes: np.ndarray, *, confirmed: bool) -> Defect | None:
    over = _overshoot(COCO(numbers), sizes)
    crossing, total = int((over > BORDER_TOLERANCE).any(1).sum()), len(numbers)
    if total < MIN_BOXES or not crossing:
        return None
    far = int((over > FAR * np.tile(sizes, 2)).any(1).sum())
    often = 10 * crossing > total if total >= ENOUGH_BOXES else 2 * crossing > total
    found = f"{crossing} of {total} boxes"

    def fits(layout: _Layout) -> np.ndarray:
        boxes = layout(numbers)
        inside = (_overshoot(boxes, sizes) <= BORDER_TOLERANCE).all(1)
        return np.asarray(inside & (boxes[:, :2] < boxes[:, 2:]).all(1))

    names, count = best_layouts(fits)
    if not confirmed and names and (often or (far >= 2 and count == total)):
        detail = f"{found}; are they in the format {names}? {count} of them fit"
    elif 2 * crossing > total >= ENOUGH_BOXES:
        detail = f"{found}; are they those of other images?"
    else:
        return None
    return Defect("boxes cross the border", "annotations", detail + EXPECTED)


def _overshoot(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns float64[N, 4], by how many pixels boxes cross each border."""
    return np.concatenate((-boxes[:, :2], boxes[:, 2:] - sizes), axis=1)


def _boxes(count: int) -> str:
    return count_of(count, "box", "boxes")
