"""Defects of a dataset, collected so that they can be reported together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import count_of

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
        notes: Lines on what was read in another way than it is written.
    """

    file: Path
    fatal: list[Defect] = field(default_factory=list)
    dropped: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, kind: str, where: str, detail: str) -> None:
        """Adds a defect that makes the file unusable."""
        self.fatal.append(Defect(kind, where, detail))

    def drop(self, kind: str, where: str, detail: str) -> None:
        """Adds a harmless defect."""
        self.dropped.append(Defect(kind, where, detail))

    def raise_if_fatal(self) -> None:
        """Raises one DataError that lists the fatal defects; does nothing if there are none."""
        if not self.fatal:
            return
        lines = [f"{self.file}: {count_of(len(self.fatal), 'defect')} ({counts(self.fatal)})"]
        lines += [f"  {defect}" for defect in self.fatal[:SHOWN]]
        if len(self.fatal) > SHOWN:
            lines.append(f"  ... and {len(self.fatal) - SHOWN} more")
        raise DataError("\n".join(lines))

    def lines(self) -> list[str]:
        """Returns lines for the log on what was dropped, or read in another way."""
        dropped = [f"left out or clipped {counts(self.dropped)}"] if self.dropped else []
        return [f"{self.file}: {line}" for line in (*dropped, *self.notes)]


def counts(defects: Iterable[Defect]) -> str:
    """Returns how many defects there are of each kind, as in "3 x negative box"."""
    numbers = Counter(defect.kind for defect in defects)
    return ", ".join(f"{count} x {kind}" for kind, count in numbers.most_common())
