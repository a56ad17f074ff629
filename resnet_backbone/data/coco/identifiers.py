"""The ids of images, annotations and categories, as COCO and as other tools write them."""

from __future__ import annotations

import re
from collections import Counter

MAX_ID = 2**63 - 1
_DECIMAL = re.compile("[0-9]{1,19}")


class Identifiers:
    """Reads ids, and counts those that are not written as COCO does.

    COCO's ids are integers. pandas turns them into floats, and some tools into text: both are
    taken where they mean an integer.

    Attributes:
        converted: How many were taken, by part of the file.
        text: How many were other text, by part of the file.
        example: Some such text, by part of the file.
    """

    def __init__(self) -> None:
        self.converted: Counter[str] = Counter()
        self.text: Counter[str] = Counter()
        self.example: dict[str, str] = {}

    def read(self, value: object, part: str) -> int | None:
        """Returns the id that `value` means, None if it means none; counts it for `part`."""
        key = as_id(value)
        if isinstance(value, str) and key is None:
            self.text[part] += 1
            self.example.setdefault(part, value)
        elif key is not None and type(value) is not int:
            self.converted[part] += 1
        return key


def as_id(value: object) -> int | None:
    """Returns a non-negative integer, also for 7.0 and "7"; None for anything else."""
    if isinstance(value, str):
        value = int(value) if _DECIMAL.fullmatch(value) and value.isascii() else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_ID else None
