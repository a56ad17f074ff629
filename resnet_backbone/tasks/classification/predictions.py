"""How a classifier's predictions for files are drawn and listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from resnet_backbone.tasks.classification.classification import Classification


class ClassPredictions:
    """The most probable classes, listed in the entry of each image, the best first.

    Args:
        class_names: The name of each class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = list(class_names)

    def draw(self, found: Classification) -> Image.Image:
        """Returns the image with the names of the classes below it."""
        return found.draw()

    def entries(self, found: Classification) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Returns what is added to the image's entry; there are no others."""
        classes = [one._asdict() | {"score": round(one.score, 5)} for one in found]
        return {"classes": classes}, []

    def content(
        self, images: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns the whole file."""
        return {"images": images, "class_names": self._class_names}
