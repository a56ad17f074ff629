"""Compares the boxes of a file with the outlines of the same objects.

In COCO's files each box is that of its outline, to a pixel. A file in which they lie in different
places has other coordinates than COCO's in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.box_formats import (
    COCO,
    ENOUGH_BOXES,
    EXPECTED,
    MIN_BOXES,
    almost_all,
    best_layouts,
)
from resnet_backbone.data.coco.defects import Defect
from resnet_backbone.data.coco.records import Instance

OTHER_OUTLINES = "outlines do not fit their boxes"  # a kind of defect
TOLERANCE = 2.0  # pixels; COCO's boxes of crowds are one pixel smaller than these
INSIDE = 0.5  # the part of an outline that must lie in its box
ALIKE, SAME = 0.5, 0.8  # IoU of boxes that may be of the same object, and of those that are
MIN_CHANGE = 0.02  # a scale this close to 1 is none


class OutlineBoxes:
    """The boxes of objects beside the bounding boxes of their outlines.

    Args:
        instances: Objects with an outline.
        sizes: (width, height) of each object's image, in pixels.
    """

    def __init__(self, instances: Sequence[Instance], sizes: Sequence[tuple[int, int]]) -> None:
        self._sizes = np.array(sizes, dtype=np.float64).reshape(-1, 2)
        raw = [instance.raw_box for instance in instances]
        self._numbers = np.array(raw, dtype=np.float64).reshape(-1, 4)
        self._outlines = _bounds(instances)
        self._boxes = COCO(self._numbers)

    def __len__(self) -> int:
        return len(self._boxes)

    @property
    def outside(self) -> np.ndarray:
        """bool[N], true where half of the outline or more lies outside of its box.

        An outline that fills a small part of its box is not: the rest of the object may be hidden.
        """
        box = self._clipped(self._boxes) + (-TOLERANCE, -TOLERANCE, TOLERANCE, TOLERANCE)
        outline = self._clipped(self._outlines)
        width_height = np.maximum(outline[:, 2:] - outline[:, :2], 1)  # a line has no area
        ends = np.minimum(outline[:, :2] + width_height, box[:, 2:])
        common = (ends - np.maximum(outline[:, :2], box[:, :2])).clip(0)
        return np.asarray((common / width_height).prod(1) < INSIDE)

    @property
    def confirm(self) -> bool:
        """Whether outlines show that the boxes have COCO's format."""
        same = int(_fit(self._boxes, self._outlines, SAME).sum())
        return len(self) >= MIN_BOXES and almost_all(same, len(self))

    def other_format(self) -> Defect | None:
        """Returns in which format the boxes fit their outlines, if that is not COCO's."""
        differ = self._differ()
        if not differ:
            return None
        names, count = best_layouts(
            lambda layout: _fit(layout(self._numbers), self._outlines, SAME)
        )
        if not names:
            return None
        other = ", or the outlines in pairs (y, x)" if names.startswith("(y, x") else ""
        detail = (
            f"{differ} of {len(self)} boxes; are they in the format {names}{other}? "
            f"{count} of them fit"
        )
        return Defect("boxes do not fit their outlines", "annotations", detail + EXPECTED)

    def other_outlines(self) -> Defect | None:
        """Returns in which coordinates the outlines would fit the boxes, if they do not."""
        outside = int(self.outside.sum())
        for changed, description in self._changes() if self._many_are_off() else ():
            count = int(_fit(self._boxes, changed, SAME).sum())
            if almost_all(count, len(self)):
                detail = f"{count} of {len(self)} outlines fit their boxes as {description}"
                return self._defect(detail)
        enough = 2 * outside > len(self) if len(self) >= ENOUGH_BOXES else outside == len(self)
        if len(self) < MIN_BOXES or not enough:
            return None
        detail = f"{outside} of {len(self)} outlines lie elsewhere than their boxes"
        return self._defect(f"{detail}; are they those of other objects?")

    def note(self) -> str | None:
        """Returns a line for the log on outlines that fill only a part of their boxes."""
        part = int((~_fit(self._boxes, self._outlines, ALIKE) & ~self.outside).sum())
        if not part:
            return None
        return f"{part} of {len(self)} outlines fill less than half of their boxes; both are kept"

    def _differ(self) -> int:
        """Returns how many boxes are not those of their outlines; 0 if these are no majority."""
        differ = int((~_fit(self._boxes, self._outlines, ALIKE)).sum())
        return differ if len(self) >= MIN_BOXES and 2 * differ > len(self) else 0

    def _many_are_off(self) -> bool:
        """Whether there may be a reason in common why outlines do not have their boxes' edges."""
        edges = self._clipped(self._boxes) - self._clipped(self._outlines)
        off = int((np.abs(edges) > TOLERANCE).any(1).sum())
        return len(self) >= MIN_BOXES and 2 * off > len(self)

    def _changes(self) -> Iterator[tuple[np.ndarray, str]]:
        """Yields the outlines in other coordinates, and what these would be called."""
        outlines, sides = self._outlines, np.tile(self._sizes, 2)
        yield outlines * sides, "fractions of the image's width and height"
        yield outlines * sides / 100, "percentages of the image's width and height"
        yield outlines[:, [1, 0, 3, 2]], "pairs (y, x)"
        mirrored = (sides - outlines)[:, [2, 3, 0, 1]]
        x, y = ([0, 2], [1, 3])
        yield _with_columns(outlines, x, mirrored), "mirrored from left to right"
        yield _with_columns(outlines, y, mirrored), "upside down, with y from the lower border"
        if len(self) < ENOUGH_BOXES and not self._differ():
            return
        scale = _median_ratio(outlines, self._boxes)
        if np.abs(scale - 1).max() > MIN_CHANGE and scale.min() > 0:
            called = f"{scale[0]:.3g} times x and {scale[1]:.3g} times y"
            yield outlines / np.tile(scale, 2), called
        shift = np.median(outlines - self._boxes, axis=0)
        shift = (shift[:2] + shift[2:]) / 2
        called = f"shifted by {shift[0]:.3g} in x and {shift[1]:.3g} in y"
        yield outlines - np.tile(shift, 2), called

    def _clipped(self, boxes: np.ndarray) -> np.ndarray:
        return boxes.clip(0, np.tile(self._sizes, 2))

    @staticmethod
    def _defect(detail: str) -> Defect:
        expected = "; COCO's outlines are (x, y) in pixels of the image, and the box is theirs"
        return Defect(OTHER_OUTLINES, "annotations", detail + expected)


def _bounds(instances: Sequence[Instance]) -> np.ndarray:
    """Returns float64[N, 4], (x0, y0, x1, y1) around each outline."""
    bounds = np.empty((len(instances), 4))
    encoded = np.array([instance.rle is not None for instance in instances], dtype=bool)
    if encoded.any():
        rles = [instance.rle for instance in instances if instance.rle is not None]
        bounds[encoded] = COCO(np.asarray(coco_mask.toBbox(rles), dtype=np.float64))
    if not encoded.all():
        drawn = [instance.polygons for instance in instances if instance.rle is None]
        corners = np.concatenate([polygon for polygons in drawn for polygon in polygons])
        counts = [sum(map(len, polygons)) for polygons in drawn]
        starts = np.cumsum([0, *counts[:-1]])
        bounds[~encoded, :2] = np.minimum.reduceat(corners, starts)
        bounds[~encoded, 2:] = np.maximum.reduceat(corners, starts)
    return bounds


def _fit(boxes: np.ndarray, others: np.ndarray, overlap: float) -> np.ndarray:
    """Returns bool[N], where boxes have an IoU of `overlap` or the same edges within tolerance."""
    starts, ends = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    common = (ends - starts).clip(0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).clip(0).prod(1) for each in (boxes, others)]
    alike = common >= overlap * (areas[0] + areas[1] - common).clip(min=1e-9)
    return np.asarray(alike | (np.abs(boxes - others) <= TOLERANCE).all(1))


def _with_columns(boxes: np.ndarray, columns: list[int], others: np.ndarray) -> np.ndarray:
    changed = boxes.copy()
    changed[:, columns] = others[:, columns]
    return changed


def _median_ratio(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Returns float64[2], the medians of the far edges' ratios in x and y."""
    ratios = values[:, 2:] / np.maximum(by[:, 2:], 1e-9)
    return np.asarray(np.median(ratios, axis=0))
