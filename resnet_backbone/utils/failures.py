"""What ranks tell each other about a failure, through the store in which they met."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from resnet_backbone.errors import Interrupted, RankError, ResnetBackboneError

# How long a rank that has lost another one waits until the rest have noticed it too; longer than
# most steps, shorter than the 30 s after which torchrun kills what is left.
GRACE = 10.0  # seconds
_POLL = 0.05  # seconds


def is_about_ranks(error: BaseException) -> bool:
    """Returns whether an error is about the communication between ranks."""
    # Gloo raises a plain RuntimeError, with the place in its source code.
    of_gloo = isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    return isinstance(error, dist.DistError) or of_gloo


class Failures:
    """The failures of all ranks of a job.

    Args:
        store: The store that all ranks share.
        rank: This rank.
        world_size: The number of ranks.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int) -> None:
        self.store = store
        self.rank = rank
        self.others = [other for other in range(world_size) if other != rank]

    def tell(self, error: BaseException) -> None:
        """Tells the other ranks why this one ends."""
        code, text = ResnetBackboneError.exit_code, f"{type(error).__name__}: {error}"
        if isinstance(error, ResnetBackboneError):
            code, text = error.exit_code, str(error)
        elif isinstance(error, KeyboardInterrupt):
            code, text = Interrupted.exit_code, "interrupted"
        try:
            self.store.set(f"failed/{self.rank}", json.dumps({"exit_code": code, "text": text}))
        except RuntimeError:  # the store is gone, and with it those who could have listened
            return

    def explain(self, error: BaseException) -> RankError | None:
        """Returns the other rank's failure that has caused `error`, or None if it is our own."""
        if not is_about_ranks(error):
            return None
        try:
            with _terminated_later():
                self.store.set(f"left/{self.rank}", "")
                return self._await_reason(error)
        except RuntimeError:  # the store is gone, and so is the rank that had it
            return _gone([0], error)

    def _await_reason(self, error: BaseException) -> RankError:
        """Waits until a rank has told its failure, or all that are left have lost another one."""
        deadline = time.monotonic() + GRACE
        while True:
            # In this order: a rank tells its failure before the others can notice it.
            missing = [other for other in self.others if not self._has(f"left/{other}")]
            for other in self.others:
                if self._has(f"failed/{other}"):
                    told = json.loads(self.store.get(f"failed/{other}"))
                    return RankError(f"rank {other} failed: {told['text']}", told["exit_code"])
            if len(missing) < 2 or time.monotonic() > deadline:
                return _gone(missing, error)
            time.sleep(_POLL)

    def _has(self, key: str) -> bool:
        return bool(self.store.check([key]))


@contextmanager
def _terminated_later() -> Iterator[None]:
    """Ignores SIGTERM, which torchrun sends to all ranks when one has failed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _gone(ranks: list[int], error: BaseException) -> RankError:
    if not ranks:
        return RankError(f"the ranks have lost each other: {error}")
    names = ", ".join(map(str, ranks))
    is_gone = f"rank {names} is gone" if len(ranks) == 1 else f"ranks {names} are gone"
    return RankError(
        f"{is_gone}; without an error message of its own it was killed, or its machine is down; "
        "start again with --resume"
    )
