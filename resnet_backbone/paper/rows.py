"""One line of a reproduced table, and how its cells are written."""

from __future__ import annotations

from dataclasses import dataclass

COMPUTED = "computed now"
NOTHING = "not run"


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        label: What is measured.
        paper: The paper's number or statement.
        ours: Ours, or "not run".
        difference: Ours minus the paper's, "-" where the two are not comparable.
        how: How ours was obtained, or what it would cost.
        recorded: Whether ours comes from recorded runs.
    """

    label: str
    paper: str
    ours: str
    difference: str
    how: str = COMPUTED
    recorded: bool = False


@dataclass(frozen=True)
class ComparisonTable:
    """One table.

    Attributes:
        key: What it is asked for by.
        title: Above it.
        rows: Its lines.
        notes: Below it.
    """

    key: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def not_run(label: str, paper: str, hours: float, remark: str = "") -> Row:
    """Returns a line that says what the number would cost.

    Args:
        label: See `Row`.
        paper: See `Row`.
        hours: Estimated GPU-hours.
        remark: Of the paper's number.
    """
    cost = in_hours(hours)
    return Row(label, paper, NOTHING, "-", f"{cost}; {remark}" if remark else cost)


def in_hours(hours: float) -> str:
    """Returns an estimate with no more digits than it deserves."""
    return f"about {hours:.2g} GPU-hours" if hours < 10 else f"about {hours:.0f} GPU-hours"


def percent(value: float | None) -> str:
    """Returns two decimals of a number in percent, "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    """Returns a difference with its sign and one decimal."""
    return f"{value:+.1f}"
