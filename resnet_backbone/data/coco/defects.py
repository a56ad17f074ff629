"""Defects of a dataset, collected so that they can be reported together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from resnet_backbone.errors import DataError

SHOWN = 20  # number of defects that are listed; the others are only counted


@dataclass(frozen=True)
class Defect:
    """One defect of an annotation file.

    Attributes:
        kind: A short name, used for counting ("negative box").
        where: The location, as in "annotation 17" or "image 4 (000004.jpg)".
        detail: What was found and what was expected.
    """

    kind: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.detail}"


@dataclass
class DefectReport:
    """All defects of one annotation file.

    Attributes:
        file: The annotation file.
        fatal: Defects that make the file unusable.
        dropped: Harmless defects; the image, annotation or box was left out or clipped.
        rejected: Ids of invalid annotations that were left out because invalid ones are skipped.
            They must not be passed to C code.
    """

    file: Path
    fatal: list[Defect] = field(default_factory=list)
    dropped: list[Defect] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)

    def raise_if_fatal(self) -> None:
        """Raises one DataError that lists the fatal defects; does nothing if there are none."""
        if not self.fatal:
            return
        lines = [f"{self.file}: {len(self.fatal)} defects ({_counts(self.fatal)})"]
        lines += [f"  {defect}" for defect in self.fatal[:SHOWN]]
        if len(self.fatal) > SHOWN:
            lines.append(f"  ... and {len(self.fatal) - SHOWN} more")
        raise DataError("\n".join(lines))

    def summary(self) -> str:
        """Returns one line for the log; empty if nothing was dropped."""
        if not self.dropped:
            return ""
        return f"{self.file}: left out or clipped {_counts(self.dropped)}"


def _counts(defects: list[Defect]) -> str:
    counts = Counter(defect.kind for defect in defects)
    return ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
