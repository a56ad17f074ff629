"""Data loaders: worker processes make batches and report errors as values."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from resnet_backbone.data.loading.order import SampleRef
from resnet_backbone.data.loading.shared_memory import Lender, Lent, borrow, forget
from resnet_backbone.errors import DataError
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.utils.allocator import keep_freed_memory

logger = logging.getLogger(__name__)

OnBadSample = Literal["error", "skip"]
REPLACEMENTS = 10  # number of images to try in place of an unreadable one

Key = TypeVar("Key", SampleRef, int)
S = TypeVar("S")  # a sample
S_co = TypeVar("S_co", covariant=True)
B = TypeVar("B", Batch, ImageBatch)


class Samples(Protocol[S_co]):
    """A dataset whose samples depend only on the arguments, not on the process or order."""

    @property
    def description(self) -> str:
        """The dataset's name in messages."""

    def __len__(self) -> int: ...

    def training_sample(self, index: int, epoch: int, position: int) -> S_co:
        """Returns image `index`, augmented for a position of an epoch."""

    def test_sample(self, index: int) -> S_co:
        """Returns image `index`, prepared for evaluation."""


@dataclass(frozen=True)
class Loaded(Generic[B]):
    """The result that a worker sends to the main process.

    Errors are sent as text, because DataLoader would wrap an exception and add the worker's
    traceback.

    Attributes:
        batch: The batch; None if none of its samples could be read.
        lent: Where its tensors are in shared memory, until the main process receives them.
        skipped: One line per image that could not be read and was left out.
        error: The first error, if `on_bad_sample` is "error".
        owner: Process id of the worker.
    """

    batch: B | None
    lent: Lent | None = None
    skipped: tuple[str, ...] = ()
    error: str | None = None
    owner: int = field(default_factory=os.getpid)

    def received(self) -> B | None:
        """Returns the batch with its tensors."""
        if self.batch is None or self.lent is None:
            return self.batch
        return borrow(self.batch, self.lent, self.owner)

    def pin_memory(self) -> Loaded[B]:
        """Returns a copy in pinned memory; DataLoader calls this."""
        batch = self.received()
        return self if batch is None else replace(self, batch=batch.pin_memory(), lent=None)


class BatchLoader(Iterable[B]):
    """Iterates over the batches of a DataLoader whose items are `Loaded`.

    Args:
        loader: The DataLoader.
        skipped: A list that receives one line per image left out, each image once.
    """

    def __init__(self, loader: DataLoader[Loaded[B]], skipped: list[str]) -> None:
        self._loader: DataLoader[Loaded[B]] = loader
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[B]:
        owners: set[int] = set()
        try:
            for loaded in self._loader:
                owners.add(loaded.owner)
                batch = self._checked(loaded)
                if batch is not None:
                    yield batch
        finally:
            forget(owners)

    def _checked(self, loaded: Loaded[B]) -> B | None:
        if loaded.error is not None:
            raise DataError(loaded.error)
        for line in loaded.skipped:
            if line not in self.skipped:  # otherwise every epoch would list it again
                logger.warning("left out: %s", line)
                self.skipped.append(line)
        return loaded.received()


class _Batches(Dataset[Loaded[B]], Generic[Key, S, B]):
    """Maps a list of keys to their batch; errors become part of the result.

    Args:
        dataset: The samples.
        collate: Makes a batch of one or more samples.
        seed: The seed for choosing a replacement for an unreadable image.
        on_bad_sample: What to do about an image that cannot be read: "error" or "skip".
    """

    def __init__(
        self,
        dataset: Samples[S],
        collate: Callable[[Sequence[S]], B],
        seed: int,
        on_bad_sample: OnBadSample,
    ) -> None:
        self.dataset = dataset
        self.collate: Callable[[Sequence[S]], B] = collate
        self.seed = seed
        self.on_bad_sample = on_bad_sample
        self._lender = Lender()

    def __getitem__(self, keys: Sequence[Key]) -> Loaded[B]:
        samples: list[S] = []
        skipped: list[str] = []
        try:
            for key in keys:
                samples.extend(self._read_or_substitute(key, skipped))
            batch, lent = self._hand_over(samples)
        except DataError as error:
            return Loaded(None, skipped=tuple(skipped), error=str(error))
        return Loaded(batch, lent, tuple(skipped))

    def _hand_over(self, samples: Sequence[S]) -> tuple[B | None, Lent | None]:
        """Returns the batch of these samples, in shared memory if this is a worker process."""
        batch = self.collate(samples) if samples else None
        if batch is None or get_worker_info() is None:
            return batch, None
        return self._lender.lend(batch)

    def _read_or_substitute(self, key: Key, skipped: list[str]) -> list[S]:
        try:
            return [self.read(key)]
        except DataError as error:
            if self.on_bad_sample == "error":
                raise DataError(
                    f"{error}; set data.on_bad_sample=skip to leave out unreadable images"
                ) from error
            skipped.append(str(error))
            return self.substitute(key)

    def read(self, key: Key) -> S:
        """Returns the sample for a key."""
        raise NotImplementedError

    def substitute(self, key: Key) -> list[S]:
        """Returns the replacement for an unreadable sample, an empty list for none."""
        raise NotImplementedError


class TrainingBatches(_Batches[SampleRef, S, B]):
    """Batches of augmented samples; an unreadable image is replaced by another, random one."""

    def read(self, key: SampleRef) -> S:
        """Returns the sample for a position of an epoch."""
        return self.dataset.training_sample(key.index, key.epoch, key.position)

    def substitute(self, key: SampleRef) -> list[S]:
        """Returns another image for this position; depends only on (seed, epoch, position)."""
        rng = np.random.default_rng((self.seed, key.epoch, key.position, 1))
        for index in rng.integers(len(self.dataset), size=REPLACEMENTS):
            try:
                return [self.dataset.training_sample(int(index), key.epoch, key.position)]
            except DataError as error:
                last = error
        raise DataError(
            f"{self.dataset.description}: {REPLACEMENTS + 1} randomly chosen images in a row cannot"
            f" be read; the last error: {last}"
        )


class EvaluationBatches(_Batches[int, S, B]):
    """Batches of evaluation samples; an unreadable image is left out of its batch."""

    def read(self, key: int) -> S:
        """Returns the sample of an image."""
        return self.dataset.test_sample(key)

    def substitute(self, key: int) -> list[S]:
        """Returns an empty list, since another image must not count in its place."""
        return []


def make_loader(
    batches: Dataset[Loaded[B]],
    keys: Iterable[Sequence[SampleRef]] | Sequence[Sequence[int]],
    workers: int,
) -> DataLoader[Loaded[B]]:
    """Returns a loader of `batches[key]` for every key, in order, whatever the number of workers.

    Iterate over it once only. Its workers are stopped when the iteration ends, not when the loader
    is garbage-collected: that could happen in a thread which the workers wait for.
    """
    _warn_of_few_processors(workers)
    return _Loader(
        batches,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        # Without its own generator, a new loader would draw from the global one, whose state
        # training saves and restores.
        generator=torch.Generator(),
        worker_init_fn=_start_worker,
    )


class _Loader(DataLoader[Loaded[B]]):
    """A DataLoader that leaves the check of `num_workers` to `_warn_of_few_processors`."""

    def check_worker_number_rationality(self) -> None:
        """Does nothing; torch would warn twice per loader."""


@lru_cache(maxsize=1)
def _warn_of_few_processors(workers: int) -> None:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if count is not None and workers > count:
        logger.warning("data.workers is %d, more than there are processors: %d", workers, count)


def _start_worker(number: int) -> None:
    torch.set_num_threads(1)  # parallelism comes from the number of workers
    keep_freed_memory()  # images are allocated and freed by the megabyte
    # Ctrl-C and SIGTERM often reach the whole process group. The main process handles them, and
    # still needs its workers until the checkpoint is written.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_exit_on_sigterm_from, args=(os.getppid(),), daemon=True).start()


def _exit_on_sigterm_from(parent: int) -> None:
    """Ends this process on a SIGTERM from `parent`, which waits for it before exiting itself."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
