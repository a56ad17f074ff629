"""Formats text for messages, and reads text files."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence
from pathlib import Path

SHOWN = 20  # lines of a message that lists everything that is wrong


def listing(names: Collection[object], limit: int = 5) -> str:
    """Returns the first `limit` names, and how many more there are."""
    shown = ", ".join(map(str, list(names)[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def refuse_all(where: str, errors: Sequence[str], total: int, what: str, advice: str) -> str:
    """Returns a message on several of `total` things, whose errors it lists, with advice.

    Args:
        where: A file or folder.
        errors: One line each.
        total: How many things there are.
        what: What they are called, in the singular.
        advice: What to do.
    """
    lines = [f"{where}: {len(errors)} of {count_of(total, what)} cannot be used; {advice}"]
    lines += [f"  {error}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"  ... and {len(errors) - SHOWN} more")
    return "\n".join(lines)


def read_any_text(file: Path) -> str:
    """Returns the content of a text file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeError: it is in another encoding.
    """
    content = file.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun: "1 image", "2 images", "1,204 images".

    Args:
        count: The number.
        noun: In the singular.
        plural: By default, `noun` with an "s".
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
