"""Formats text for messages."""

from __future__ import annotations

from collections.abc import Collection


def listing(names: Collection[object], limit: int = 5) -> str:
    """Returns the first `limit` names, and how many more there are."""
    shown = ", ".join(map(str, list(names)[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
