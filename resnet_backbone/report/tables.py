"""Formats results as aligned text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Classes per column of the per-class table; longer lists continue in further columns.
ROWS = 30
MOST_CLASSES = 120  # a table of more classes would be too long to read

Table = Mapping[str, Mapping[str, float | None]]


def metrics_table(metrics: Table) -> str:
    """Returns a header and one line per task with all its metrics.

    Args:
        metrics: {task: {metric: value in [0, 1]}}; None and NaN are shown as "n/a".
    """
    names = list(dict.fromkeys(name for row in metrics.values() for name in row))
    rows = [
        [task, *(format_number(row.get(name)) for name in names)] for task, row in metrics.items()
    ]
    return align([["", *names], *rows])


def per_class_table(per_class: Table) -> str:
    """Returns one line per class with its result in each task; long lists have several columns.

    Args:
        per_class: {task: {class name: value in [0, 1]}}; None and NaN are shown as "n/a". For more
            than `MOST_CLASSES` classes the result only says where to find them.
    """
    names = list(dict.fromkeys(name for row in per_class.values() for name in row))
    if len(names) > MOST_CLASSES:
        return f"{len(names)} classes: see per_class in results.json"
    lines = [
        [name, *(format_number(row.get(name)) for row in per_class.values())] for name in names
    ]
    columns = [
        align([["class", *per_class], *lines[start : start + ROWS]])
        for start in range(0, len(lines), ROWS)
    ]
    return beside(columns)


def errors_table(errors: Mapping[str, Table]) -> str:
    """Returns two lines per task: how many errors of each kind there are, and what they cost.

    Args:
        errors: {task: {kind: {"count": how many, "AP50": what correcting them would add}}}; None
            or NaN is shown as "n/a".
    """
    kinds = list(dict.fromkeys(kind for table in errors.values() for kind in table))
    lines = []
    for task, table in errors.items():
        rows = [table.get(kind, {}) for kind in kinds]
        lines.append([f"{task}: errors", *(f"{row.get('count', 0):.0f}" for row in rows)])
        gains = [format_number(row.get("AP50")) for row in rows]
        lines.append([f"{task}: AP50 they cost", *gains])
    return align([["", *kinds], *lines])


def format_number(value: float | None) -> str:
    """Formats a number with three decimals; "n/a" for None and NaN."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Aligns cells in columns, the first one left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def beside(blocks: Sequence[str]) -> str:
    """Places blocks of text side by side."""
    split = [block.split("\n") for block in blocks]
    height = max(map(len, split), default=0)
    widths = [max(map(len, lines)) for lines in split]
    rows = (
        "    ".join(
            (lines[row] if row < len(lines) else "").ljust(width)
            for lines, width in zip(split, widths, strict=True)
        )
        for row in range(height)
    )
    return "\n".join(row.rstrip() for row in rows)
