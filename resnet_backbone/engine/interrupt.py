"""SIGINT and SIGTERM become a flag that training and evaluation ask for."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from resnet_backbone.utils import distributed

# torchrun passes the terminal's Ctrl-C on, so one press can arrive twice within moments.
SECOND_PRESS_AFTER = 1.0  # seconds


class StopFlag:
    """Whether this process, or any rank, was asked to stop."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __bool__(self) -> bool:
        return self._since is not None

    def on_any_rank(self) -> bool:
        """Tells whether any rank was asked to stop; every rank must ask, and hears the same."""
        return bool(distributed.all_reduce_sum(torch.tensor(float(bool(self)))) > 0)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Takes a signal.

        Raises:
            KeyboardInterrupt: a second SIGINT: the user does not want to wait for the checkpoint.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif signum == signal.SIGINT and now - self._since > SECOND_PRESS_AFTER:
            raise KeyboardInterrupt


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Catches SIGINT and SIGTERM while the block runs; outside the main thread, nothing."""
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
