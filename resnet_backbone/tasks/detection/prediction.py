"""What a predictor has found in one image, with all that is needed to look at it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image
from torch import Tensor

from resnet_backbone.evaluation.compact import encode_masks
from resnet_backbone.report.draw import ColorBy, draw_detections, most_likely
from resnet_backbone.structures import Detections, Indices
from resnet_backbone.utils.text import count_of

SHOWN_SCORE = 0.5


class Detection(NamedTuple):
    """One object that was found.

    Attributes:
        name: The name of its class.
        score: In [0, 1].
        box: float32[4], xyxy in pixels of the image.
        class_index: The index of its class.
        mask: bool[height, width], or None if the model predicts no masks.
    """

    name: str
    score: float
    box: Tensor
    class_index: int
    mask: Tensor | None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Prediction(Detections):
    """The detections of a `Predictor` in one image, highest score first.

    `prediction[prediction.scores > 0.9]` and `prediction[:5]` choose some, `prediction[0]` is one
    `Detection`, and a loop yields all of them. A notebook shows the picture.

    Attributes:
        image: uint8[3, height, width], RGB: the image, upright.
        class_names: The name of each class of the model.
        category_ids: The COCO category id of each class of the model.
    """

    image: Tensor
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The name of the class of each detection."""
        return [self.class_names[index] for index in self.classes.tolist()]

    @overload
    def __getitem__(self, chosen: int) -> Detection: ...

    @overload
    def __getitem__(self, chosen: Indices) -> Prediction: ...

    def __getitem__(self, chosen: int | Indices) -> Detection | Prediction:
        if not isinstance(chosen, int | np.integer):
            return self.select(chosen)
        class_index = int(self.classes[chosen])
        return Detection(
            name=self.class_names[class_index],
            score=float(self.scores[chosen]),
            box=self.boxes[chosen],
            class_index=class_index,
            mask=None if self.masks is None else self.masks[chosen],
        )

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        """Returns for example "5 detections: 3 dog, 2 person"."""
        names = Counter(self.names).most_common()
        kinds = ", ".join(f"{count} {name}" for name, count in names)
        return f"{count_of(len(self), 'detection')}{': ' if kinds else ''}{kinds}"

    def to_dict(self) -> dict[str, list[Any]]:
        """Returns columns of plain Python values, without masks; `pandas.DataFrame` takes them.

        They are `name`, `score`, `class_index` and `x0`, `y0`, `x1`, `y1` in pixels.
        """
        columns = {"name": self.names, "score": self.scores.tolist()}
        columns["class_index"] = self.classes.tolist()
        return columns | dict(zip(("x0", "y0", "x1", "y1"), self.boxes.T.tolist(), strict=True))

    def to_coco(self) -> list[dict[str, Any]]:
        """Returns the detections in COCO's results format, masks as compressed RLE.

        https://cocodataset.org/#format-results; `bbox` is [x, y, width, height] in pixels.
        """
        masks = [] if self.masks is None else encode_masks(self.masks)
        entries: list[dict[str, Any]] = []
        for index, (x0, y0, x1, y1) in enumerate(self.boxes.tolist()):
            entries.append(
                {
                    "image_id": self.image_id,
                    "category_id": self.category_ids[int(self.classes[index])],
                    "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                    "score": round(float(self.scores[index]), 5),
                }
            )
        for entry, counts in zip(entries, masks, strict=self.masks is not None):
            entry["segmentation"] = {"size": list(self.size), "counts": counts.decode("ascii")}
        return entries

    def draw(self, *, threshold: float = SHOWN_SCORE, color_by: ColorBy = "class") -> Image.Image:
        """Returns the image with those detections drawn on it that score at least `threshold`.

        `color_by` is "class", or "instance" to tell neighbours of one class apart.
        """
        return draw_detections(
            self.image, self, self.class_names, threshold=threshold, color_by=color_by
        )

    def _repr_png_(self) -> bytes:
        """Returns the picture that Jupyter shows; where no score is high, it has the best few."""
        shown, _ = most_likely(self, SHOWN_SCORE)
        file = io.BytesIO()
        draw_detections(self.image, shown, self.class_names, threshold=0.0).save(file, "PNG")
        return file.getvalue()
