"""The rows of a reproduced table, and the format of their cells."""

from __future__ import annotations

from dataclasses import dataclass

COMPUTED = "computed now"
NOTHING = "not run"


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        label: What is measured.
        paper: The paper's number or statement.
        ours: Our number or statement, or "not run".
        difference: Ours minus the paper's; "-" if the two are not comparable.
        how: How our number was obtained, or what obtaining it would cost.
        recorded: Whether our number comes from recorded runs.
        deviations: What these runs did differently from the paper; a footnote in print.
    """

    label: str
    paper: str
    ours: str
    difference: str
    how: str = COMPUTED
    recorded: bool = False
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonTable:
    """One table.

    Attributes:
        key: "table2" and so on, the name under which it can be selected.
        title: The line above the table.
        rows: The rows.
        notes: Lines below the table.
    """

    key: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def not_run(label: str, paper: str, hours: float, remark: str = "") -> Row:
    """Returns a row for a number that was not measured, with an estimate of its cost.

    Args:
        label: What would be measured.
        paper: The paper's number or statement.
        hours: Estimated GPU-hours.
        remark: A remark about the paper's number.
    """
    cost = in_hours(hours)
    return Row(label, paper, NOTHING, "-", f"{cost}; {remark}" if remark else cost)


def in_hours(hours: float) -> str:
    """Formats an estimate of GPU-hours, with few digits."""
    return f"about {hours:.2g} GPU-hours" if hours < 10 else f"about {hours:.0f} GPU-hours"


def percent(value: float | None) -> str:
    """Formats a number in percent with two decimals; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    """Formats a difference with its sign and one decimal."""
    return f"{value:+.1f}"
