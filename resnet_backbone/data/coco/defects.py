"""What is wrong with a dataset, collected first and told all at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from resnet_backbone.errors import DataError

SHOWN = 20  # defects spelled out; the rest is counted


@dataclass(frozen=True)
class Defect:
    """One thing wrong.

    Attributes:
        kind: Short and countable ("negative box").
        where: "annotation 17", "image 4 (000004.jpg)".
        detail: What was found and what was expected.
    """

    kind: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.detail}"


@dataclass
class DefectReport:
    """Everything wrong with one annotation file.

    Attributes:
        file: The file.
        fatal: What makes the file unusable.
        dropped: What was left out, or clipped, without loss to anybody.
        rejected: Ids of annotations that were left out for an error, where errors are skipped;
            nothing may hand them to C code.
    """

    file: Path
    fatal: list[Defect] = field(default_factory=list)
    dropped: list[Defect] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)

    def raise_if_fatal(self) -> None:
        """Raises one DataError about all fatal defects, or does nothing."""
        if not self.fatal:
            return
        lines = [f"{self.file}: {len(self.fatal)} defects ({_counts(self.fatal)})"]
        lines += [f"  {defect}" for defect in self.fatal[:SHOWN]]
        if len(self.fatal) > SHOWN:
            lines.append(f"  ... and {len(self.fatal) - SHOWN} more")
        raise DataError("\n".join(lines))

    def summary(self) -> str:
        """Returns one line for the log; empty where nothing was dropped."""
        if not self.dropped:
            return ""
        return f"{self.file}: left out or clipped {_counts(self.dropped)}"


def _counts(defects: list[Defect]) -> str:
    counts = Counter(defect.kind for defect in defects)
    return ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
