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


def setup(rank: int = 0) -> None:
    """Sends the package's log to standard error, for commands, which own their process.

    A second call replaces the handlers of the first. Ranks other than 0 log warnings only.

    Args:
        rank: This process's rank.
    """
    logger = logging.getLogger(PACKAGE)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(_level(rank))
    logger.addHandler(_terminal(rank))


@contextmanager
def shown(rank: int = 0) -> Iterator[None]:
    """Shows the package's log inside the block, for calls from Python.

    What the program has set up is left as it is: lines go to standard error only where no handler
    of the package's logger or of one above it takes them, so that none is shown twice; and the
    level is set only where the program has set none for the package.

    Args:
        rank: This process's rank.
    """
    logger = logging.getLogger(PACKAGE)
    former = logger.level
    terminal = None if logger.hasHandlers() else _terminal(rank)
    if terminal is not None:
        logger.addHandler(terminal)
    if former == logging.NOTSET:
        logger.setLevel(_level(rank))
    try:
        yield
    finally:
        logger.setLevel(former)
        if terminal is not None:
            logger.removeHandler(terminal)


@contextmanager
def log_of_run(file: Path, rank: int = 0) -> Iterator[Callable[[], None]]:
    """Shows the package's log inside the block, and writes it to a file on the main rank.

    Lines are held back until `release` is called, and only then is the file opened. The error that
    ends the block is logged too, see `log_final_error`, if the function that is yielded was called:
    by it the run says that the file is now its own.

    Args:
        file: The file to append to.
        rank: This process's rank.
    """
    logger = logging.getLogger(PACKAGE)
    log_file = _LogFile(file, encoding="utf-8", delay=True)
    log_file.setFormatter(_formatter(rank))
    held_back = _HeldBack(log_file)
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True

    try:
        with shown(rank):  # first, since it asks whether there are handlers
            if rank == 0:
                logger.addHandler(held_back)
            yield begin
    except BaseException as error:
        if begun:
            log_final_error(error)
        raise
    finally:
        for handler in (held_back, log_file):
            logger.removeHandler(handler)
            handler.close()


def _level(rank: int) -> int:
    return logging.INFO if rank == 0 else logging.WARNING


def _terminal(rank: int) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(rank))
    return handler


def _formatter(rank: int) -> logging.Formatter:
    origin = "" if rank == 0 else f"[rank {rank}] "
    return logging.Formatter(f"%(asctime)s {origin}%(levelname)s %(message)s", "%H:%M:%S")


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
