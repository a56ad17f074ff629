"""Shows how far long work is: a bar on a terminal, a few log lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from resnet_backbone.utils.text import count_of

LOG_SECONDS = 30  # between lines

T = TypeVar("T")

logger = logging.getLogger(__name__)


def bar_options() -> dict[str, Any]:
    """Returns the arguments of `tqdm` for standard error; without a terminal it shows nothing."""
    if not sys.stderr.isatty():
        return {"disable": True}
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    # A terminal without a size, as of `script` in a pipe; tqdm would draw nothing on it.
    return {} if columns and rows else {"ncols": 80, "nrows": 24}


def track(
    items: Sequence[T],
    doing: str,
    done: str,
    noun: str,
    plural: str | None = None,
    *,
    bar: bool = True,
) -> Iterator[T]:
    """Yields `items`, with a bar on a terminal, or a log line now and then elsewhere.

    Work that takes less than `LOG_SECONDS` logs nothing.

    Args:
        items: What is worked on, one after the other.
        doing: What is done with them, for the bar: "evaluating".
        done: The same for the log: "evaluated".
        noun: What they are, in the singular.
        plural: By default, `noun` with an "s".
        bar: Whether this process, the main rank, shows a bar.
    """
    options = bar_options() if bar else {"disable": True}
    if not options.get("disable"):
        yield from tqdm(items, desc=doing, unit=noun, leave=False, **options)
        return
    total, logged = count_of(len(items), noun, plural), time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - logged >= LOG_SECONDS:
            logger.info("%s %d of %s", done, number, total)
            logged = now
