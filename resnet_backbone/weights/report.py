"""What a weight file and a module had in common."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_backbone.utils.text import listing
from resnet_backbone.weights.card import WeightsCard

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """The result of loading, by our names.

    Attributes:
        loaded: Names that were copied.
        missing: Names of the module that the file lacks and should have.
        unexpected: Names in the file that the module lacks, except the classifier's.
        mismatched: (name, shape in the file, shape in the module) where the shapes differ.
        reshaped: (name, shape in the file, shape in the module) of tensors that were adapted, such
            as the first convolution for other input channels.
        redrawn: Names of class layers that were not copied, see `load_weights`.
        layout: How the file names its tensors, see `weights.layouts`.
        card: What is known about the weights; None if nothing is.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, Shape, Shape], ...]
    reshaped: tuple[tuple[str, Shape, Shape], ...] = ()
    redrawn: tuple[str, ...] = ()
    layout: str = "torchvision"
    card: WeightsCard | None = None

    def __str__(self) -> str:
        fit = "tensor fits" if len(self.loaded) == 1 else "tensors fit"
        parts = [f"{len(self.loaded)} {fit}"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {listing(self.missing)}")
        for text, entries in (
            ("of another shape", self.mismatched),
            ("adapted", self.reshaped),
        ):
            if entries:
                shapes = [f"{name} {list(file)} for {list(own)}" for name, file, own in entries]
                parts.append(f"{len(shapes)} {text}: {listing(shapes)}")
        if self.redrawn:
            parts.append(f"{len(self.redrawn)} drawn anew: {listing(self.redrawn)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} not used: {listing(self.unexpected)}")
        return "; ".join(parts)
