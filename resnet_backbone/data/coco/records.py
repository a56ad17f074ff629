"""The records of a COCO-format file: what is in one, and how one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageRecord:
    """One image of the file: id, path relative to the image folder, and size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class Instance:
    """One annotation that has passed every check.

    Attributes:
        box: (x0, y0, x1, y1) in pixels, clipped to the image.
        raw_box: COCO's (x, y, width, height), as in the file.
        area: In pixels, as in the file, or the box's.
        category_id: COCO's id.
        crowd: Whether it is a crowd region.
        trainable: Whether it can be trained on: a box with an area, a mask where masks are needed.
        polygons: float64[V, 2] each.
        rle: COCO's compressed run-length encoding, or None.
    """

    box: Box
    raw_box: Box
    area: float
    category_id: int
    crowd: bool
    trainable: bool
    polygons: list[np.ndarray]
    rle: dict[str, Any] | None

    @property
    def has_box_and_outline(self) -> bool:
        """Whether there is a box that has an area, and an outline."""
        x0, y0, x1, y1 = self.box
        return x0 < x1 and y0 < y1 and (self.rle is not None or bool(self.polygons))


class Rejected(Exception):
    """Raised by a check to reject one record; holds the defect's kind and detail."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


def get(record: object, key: str) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Returns a value of a record; None if it has none, or is no record."""
    return record.get(key) if isinstance(record, dict) else None


def required(record: Record, key: str) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Returns a value of a record.

    Raises:
        Rejected: there is none.
    """
    if key not in record:
        raise Rejected("missing key", f"there is no key {key!r}")
    return record[key]
