"""Where the package's log lines go."""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

PACKAGE = "resnet_backbone"


def setup(log_file: Path | None = None, rank: int = 0, *, hold_back: bool = False) -> None:
    """Sends the package's log to standard error and, on the main rank, to a file as well.

    A second call replaces the first one's settings. Ranks other than 0 report warnings only.

    Args:
        log_file: Appended to; its folder must exist.
        rank: This process's number.
        hold_back: Do not touch the file before `release` is called, and only then write what was
            logged until then.
    """
    logger = logging.getLogger(PACKAGE)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    main = rank == 0
    logger.setLevel(logging.INFO if main else logging.WARNING)
    origin = "" if main else f"[rank {rank}] "
    formatter = logging.Formatter(f"%(asctime)s {origin}%(levelname)s %(message)s", "%H:%M:%S")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(formatter)
    logger.addHandler(terminal)
    if log_file is not None and main:
        file = logging.FileHandler(log_file, encoding="utf-8", delay=True)
        file.setFormatter(formatter)
        logger.addHandler(_held_back(file) if hold_back else file)


def release() -> None:
    """Writes to the log file what has been held back, and from now on every line at once."""
    logger = logging.getLogger(PACKAGE)
    for handler in list(logger.handlers):
        if isinstance(handler, MemoryHandler) and handler.target is not None:
            logger.removeHandler(handler)
            logger.addHandler(handler.target)
            handler.flush()
            handler.close()


def _held_back(handler: logging.Handler) -> MemoryHandler:
    return MemoryHandler(sys.maxsize, flushLevel=sys.maxsize, target=handler, flushOnClose=False)
