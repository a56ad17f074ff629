"""Turns SIGINT and SIGTERM into a flag that training and evaluation check."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from resnet_backbone.utils import distributed

# torchrun forwards the terminal's Ctrl-C, so a single press can arrive twice in quick succession.
SECOND_PRESS_AFTER = 1.0  # seconds


class StopFlag:
    """Whether this process, or any rank, was asked to stop by a signal."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __bool__(self) -> bool:
        return self._since is not None

    def on_any_rank(self) -> bool:
        """Returns whether any rank was asked to stop; a collective call with the same result."""
        return distributed.is_true_anywhere(bool(self))

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal.

        Raises:
            KeyboardInterrupt: on a second SIGINT, to stop without waiting for the checkpoint.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif signum == signal.SIGINT and now - self._since > SECOND_PRESS_AFTER:
            raise KeyboardInterrupt


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Catches SIGINT and SIGTERM inside the block; does nothing outside of the main thread."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, flag.handle)
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
