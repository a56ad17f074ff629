"""What a classifier says about one image, with all that is needed to look at it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from resnet_backbone.report.classified import draw_with_names


class ClassScore(NamedTuple):
    """A class that an image may be of.

    Attributes:
        name: Its name.
        score: Its probability.
        class_index: Its index.
    """

    name: str
    score: float
    class_index: int


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Classification:
    """The most probable classes of an image, the best first; a loop yields `ClassScore`s.

    A notebook shows the picture.

    Attributes:
        image_id: The id given by the caller.
        image: uint8[3, height, width], RGB: the whole image.
        probabilities: float32[K], the probability of each class of the model.
        labels: int64[k], the indices of the most probable classes.
        class_names: The name of each class of the model.
    """

    image_id: int
    image: Tensor
    probabilities: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    @property
    def scores(self) -> Tensor:
        """float32[k], the probabilities of the most probable classes."""
        return self.probabilities[self.labels]

    @property
    def names(self) -> list[str]:
        """The names of the most probable classes."""
        return [self.class_names[index] for index in self.labels.tolist()]

    @property
    def size(self) -> tuple[int, int]:
        """The (height, width) of the image in pixels."""
        return self.image.shape[1], self.image.shape[2]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> ClassScore:
        label = int(self.labels[place])
        return ClassScore(self.class_names[label], float(self.probabilities[label]), label)

    def __iter__(self) -> Iterator[ClassScore]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        """Returns for example "0.93 tabby, 0.04 tiger cat"; what would be 0.00 is left out."""
        return ", ".join(self.lines())

    def lines(self) -> list[str]:
        """Returns a text for each class, such as "0.93 tabby"; the first, and those above 0.00."""
        texts = [f"{found.score:.2f} {found.name}" for found in self]
        return texts[:1] + [text for text in texts[1:] if not text.startswith("0.00 ")]

    def to_dict(self) -> dict[str, list[Any]]:
        """Returns columns of plain Python values, `name`, `score` and `class_index`."""
        return {
            "name": self.names,
            "score": self.scores.tolist(),
            "class_index": self.labels.tolist(),
        }

    def draw(self) -> Image.Image:
        """Returns the image with the most probable classes written below it."""
        return draw_with_names(self.image, self.lines())

    def _repr_png_(self) -> bytes:
        """Returns the picture that Jupyter shows."""
        file = io.BytesIO()
        self.draw().save(file, "PNG")
        return file.getvalue()
