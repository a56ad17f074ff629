"""How a detector's predictions for files are drawn and listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from resnet_backbone.report.draw import ColorBy
from resnet_backbone.tasks.detection.prediction import Prediction


class CocoPredictions:
    """Boxes and masks, listed in COCO's format: `images`, `annotations` with scores, `categories`.

    Args:
        class_names: The name of each class.
        category_ids: The COCO category id of each class.
        color_by: "class", or "instance" to tell neighbours of one class apart in the pictures.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        color_by: ColorBy = "class",
    ) -> None:
        pairs = zip(category_ids, class_names, strict=True)
        self._categories = [{"id": key, "name": name} for key, name in pairs]
        self._color_by: ColorBy = color_by

    def draw(self, found: Prediction) -> Image.Image:
        """Returns the image with everything that was found."""
        return found.draw(threshold=0.0, color_by=self._color_by)

    def entries(self, found: Prediction) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Returns what is added to the image's entry, nothing, and its annotations without ids."""
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).tolist()
        return {}, [
            {"area": round(width * height, 2), "iscrowd": 0, **entry}
            for entry, (width, height) in zip(found.to_coco(), sides, strict=True)
        ]

    def content(
        self, images: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns the whole file."""
        return {
            "images": images,
            "annotations": [{"id": key, **entry} for key, entry in enumerate(entries, 1)],
            "categories": self._categories,
        }
