"""Formats text for messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence

SHOWN = 20  # lines of a message that lists everything that is wrong


def listing(names: Collection[object], limit: int = 5) -> str:
    """Returns the first `limit` names, and how many more there are."""
    shown = ", ".join(map(str, list(names)[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def refuse_all(where: str, errors: Sequence[str], total: int, what: str, advice: str) -> str:
    """Returns a message on several of `total` things, whose errors it lists, with advice."""
    lines = [f"{where}: {len(errors)} of {total} {what} cannot be used; {advice}"]
    lines += [f"  {error}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"  ... and {len(errors) - SHOWN} more")
    return "\n".join(lines)
