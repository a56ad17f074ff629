"""The handlers of the package's log."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from resnet_backbone.errors import Interrupted, ResnetBackboneError

PACKAGE = "resnet_backbone"


def setup(log_file: Path | None = None, rank: int = 0, *, hold_back: bool = False) -> None:
    """Sends the package's log to standard error and, on the main rank, also to a file.

    A second call replaces the settings of the first. Ranks other than 0 log warnings only.

    Args:
        log_file: The file to append to; its folder must exist.
        rank: This process's rank.
        hold_back: Do not open the file until `release` is called; lines logged before that are
            written then.
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
        file = _LogFile(log_file, encoding="utf-8", delay=True)
        file.setFormatter(formatter)
        logger.addHandler(_HeldBack(file) if hold_back else file)


def release() -> None:
    """Writes the lines held back so far to the log file; later lines are written at once."""
    logger = logging.getLogger(PACKAGE)
    for handler in list(logger.handlers):
        if isinstance(handler, _HeldBack) and handler.target is not None:
            logger.removeHandler(handler)
            logger.addHandler(handler.target)
            handler.released = True
            handler.flush()
            handler.close()


@contextmanager
def deferred(logger: logging.Logger) -> Iterator[Callable[[], None]]:
    """Holds back what `logger` logs inside the block; yields a function that logs it afterwards."""
    records: list[logging.LogRecord] = []

    def keep(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    def emit() -> None:
        for record in records:
            logger.handle(record)

    logger.addFilter(keep)
    try:
        yield emit
    finally:
        logger.removeFilter(keep)


@contextmanager
def final_error() -> Iterator[Callable[[], None]]:
    """Logs the error that ends the block, see `log_final_error`.

    Yields a function to be called once the log file is that of this run.
    """
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True

    try:
        yield begin
    except BaseException as error:
        if begun:
            log_final_error(error)
        raise


def log_final_error(error: BaseException) -> None:
    """Writes the error that ends a run to the log file only; the command shows it on the terminal.

    Errors that users can cause are written as their message, others with their traceback.
    """
    known = isinstance(error, ResnetBackboneError)
    level = logging.INFO if isinstance(error, Interrupted) else logging.ERROR
    text = str(error) if known else "".join(traceback.format_exception(error)).rstrip()
    record = logging.LogRecord(PACKAGE, level, "", 0, text or type(error).__name__, (), None)
    for handler in logging.getLogger(PACKAGE).handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


class _LogFile(logging.FileHandler):
    """A log file that reports once that it cannot be written, rather than with tracebacks."""

    failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record; opening the file may fail, too."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Reports the first failure on standard error."""
        if not self.failed:
            sys.stderr.write(f"{self.baseFilename}: cannot be written: {sys.exc_info()[1]}\n")
        self.failed = True


class _HeldBack(MemoryHandler):
    """Keeps lines until they are released.

    Those of a start that fails are never written. (When the process ends, `logging` flushes every
    handler, and by then the folder may be gone.)
    """

    released = False

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(sys.maxsize, sys.maxsize, target, flushOnClose=False)

    def flush(self) -> None:
        """Writes the lines to the target, once they are released."""
        if self.released:
            super().flush()
