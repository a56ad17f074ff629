"""What the boxes of a file look like, if they do not look like COCO's (x, y, width, height)."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_backbone.data.coco.defects import Defect

# COCO rounds to two decimals, so its boxes cross the border by less than a pixel.
BORDER_TOLERANCE = 1.0
# One box that crosses the border is no sign of another format; with fewer than these, only boxes
# that fit the other format without exception are.
ENOUGH_BOXES = 10
MIN_BOXES = 3
MIN_SIDE = 4  # boxes of an image smaller than this, in pixels, may well lie between 0 and 1


class BoxFormats:
    """Counts the boxes that cross the border of their image, and the formats that they would fit.

    In a file of another format, many boxes cross the border; read in their own format, all fit.
    """

    def __init__(self) -> None:
        self.boxes = self.crossing = 0
        self._fractions = self._corners = self._centred = 0

    def add(self, box: Sequence[float], width: int, height: int) -> None:
        """Counts a box, four finite numbers, of an image of `width` x `height` pixels."""
        a, b, c, d = box
        right, bottom = width + BORDER_TOLERANCE, height + BORDER_TOLERANCE
        self.boxes += 1
        self.crossing += (
            a < -BORDER_TOLERANCE or b < -BORDER_TOLERANCE or a + c > right or b + d > bottom
        )
        small = min(width, height) < MIN_SIDE
        self._fractions += not small and 0 <= min(box) and max(box) <= 1
        self._corners += -BORDER_TOLERANCE <= min(a, b) and a < c <= right and b < d <= bottom
        self._centred += (
            min(a - c / 2, b - d / 2) >= -BORDER_TOLERANCE
            and a + c / 2 <= right
            and b + d / 2 <= bottom
        )

    @property
    def mostly_cross(self) -> bool:
        """Whether more than half of the boxes cross the border."""
        return 2 * self.crossing > self.boxes

    def suspicion(self) -> Defect | None:
        """Returns what the boxes look like, with the share that says so; None for COCO's format."""
        if 2 * self._fractions > self.boxes:
            return self._defect(
                "boxes are fractions",
                f"{self._fractions} of {self.boxes} boxes lie between 0 and 1, as fractions of the "
                "image's width and height do",
            )
        if self.boxes < MIN_BOXES or not self.crossing:
            return None
        crossing = f"{self.crossing} of {self.boxes} boxes"
        if self.mostly_cross and self._fit(self._corners):
            return self._defect(
                "boxes cross the border",
                f"{crossing}; are they in the format (x0, y0, x1, y1)? {self._corners} of them fit",
            )
        often = 10 * self.crossing > self.boxes if self._are_enough else self.mostly_cross
        if often and self._fit(self._centred):
            return self._defect(
                "boxes cross the border",
                f"{crossing}; are they in the format (centre x, centre y, width, height)? "
                f"{self._centred} of them fit",
            )
        if self.mostly_cross and self._are_enough:
            return self._defect(
                "boxes cross the border", f"{crossing}; are they those of other images?"
            )
        return None

    @property
    def _are_enough(self) -> bool:
        return self.boxes >= ENOUGH_BOXES

    def _fit(self, count: int) -> bool:
        return count == self.boxes or (self._are_enough and 20 * count >= 19 * self.boxes)

    def _defect(self, kind: str, detail: str) -> Defect:
        expected = "; COCO's format is (x, y, width, height) in pixels"
        return Defect(kind, "annotations", detail + expected)
