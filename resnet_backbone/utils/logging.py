"""Where the package's log lines go."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

PACKAGE = "resnet_backbone"


def setup(log_file: Path | None = None, rank: int = 0) -> None:
    """Sends the package's log to standard error and, on the main rank, to a file as well.

    A second call replaces the first one's settings. Ranks other than 0 report warnings only.

    Args:
        log_file: Appended to; its folder must exist.
        rank: This process's number.
    """
    logger = logging.getLogger(PACKAGE)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    main = rank == 0
    logger.setLevel(logging.INFO if main else logging.WARNING)
    origin = "" if main else f"[rank {rank}] "
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None and main:
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s {origin}%(levelname)s %(message)s", "%H:%M:%S")
        )
        logger.addHandler(handler)
