"""Loaders: batches made by worker processes, with what went wrong handed on as a value."""

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
REPLACEMENTS = 10  # images tried in place of an unreadable one before giving up

Key = TypeVar("Key", SampleRef, int)
S = TypeVar("S")  # a sample
S_co = TypeVar("S_co", covariant=True)
B = TypeVar("B", Batch, ImageBatch)


class Samples(Protocol[S_co]):
    """A dataset; its samples are functions of their arguments, whoever asks for them."""

    @property
    def description(self) -> str:
        """What to call it in messages."""

    def __len__(self) -> int: ...

    def training_sample(self, index: int, epoch: int, position: int) -> S_co:
        """Returns the augmented sample that stands at a position of an epoch."""

    def test_sample(self, index: int) -> S_co:
        """Returns the sample of an image."""


@dataclass(frozen=True)
class Loaded(Generic[B]):
    """What a worker hands to the main process.

    Errors travel as text: DataLoader would wrap an exception into one with the worker's traceback.

    Attributes:
        batch: None where no sample of it could be read.
        lent: Where its tensors are, until it is received from another process.
        skipped: One line per image that could not be read and was left out.
        error: The first error, where bad samples are errors.
        owner: The process that made it.
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
        """Called by DataLoader."""
        batch = self.received()
        return self if batch is None else replace(self, batch=batch.pin_memory(), lent=None)


class BatchLoader(Iterable[B]):
    """Batches from a DataLoader over `Loaded`.

    Args:
        loader: Its batches.
        skipped: Grows by a line per image left out, each once.
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
            if line not in self.skipped:  # or every epoch would list it again
                logger.warning("left out: %s", line)
                self.skipped.append(line)
        return loaded.received()


class _Batches(Dataset[Loaded[B]], Generic[Key, S, B]):
    """Maps the keys of a whole batch to the batch; errors become part of the value.

    Args:
        dataset: The samples.
        collate: Makes a batch of at least one of them.
        seed: Of what replaces an unreadable image.
        on_bad_sample: Whether one is an error.
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
        """Returns the batch of these samples, lent where another process will read it."""
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
                    f"{error}; data.on_bad_sample=skip leaves out what cannot be read"
                ) from error
            skipped.append(str(error))
            return self.substitute(key)

    def read(self, key: Key) -> S:
        """Returns the sample that a key stands for."""
        raise NotImplementedError

    def substitute(self, key: Key) -> list[S]:
        """Returns what stands in for an unreadable sample."""
        raise NotImplementedError


class TrainingBatches(_Batches[SampleRef, S, B]):
    """Batches of augmented samples; an unreadable image is replaced by a random other one."""

    def read(self, key: SampleRef) -> S:
        """Returns the sample that stands at a place."""
        return self.dataset.training_sample(key.index, key.epoch, key.position)

    def substitute(self, key: SampleRef) -> list[S]:
        """Returns another image for this place: a function of (seed, epoch, position) too."""
        rng = np.random.default_rng((self.seed, key.epoch, key.position, 1))
        for index in rng.integers(len(self.dataset), size=REPLACEMENTS):
            try:
                return [self.dataset.training_sample(int(index), key.epoch, key.position)]
            except DataError as error:
                last = error
        raise DataError(
            f"{self.dataset.description}: {REPLACEMENTS + 1} images drawn one after another cannot "
            f"be read; the last of them, {last}"
        )


class EvaluationBatches(_Batches[int, S, B]):
    """Batches of evaluation samples; an unreadable image is missing from its batch."""

    def read(self, key: int) -> S:
        """Returns the sample of an image."""
        return self.dataset.test_sample(key)

    def substitute(self, key: int) -> list[S]:
        """Returns nothing: no other image's result may stand in."""
        return []


def make_loader(
    batches: Dataset[Loaded[B]],
    keys: Iterable[Sequence[SampleRef]] | Sequence[Sequence[int]],
    workers: int,
) -> DataLoader[Loaded[B]]:
    """Returns a loader of `batches[key]` for every key, in their order whatever the workers.

    It is meant to be iterated once: the workers end with the iteration, at once, and not whenever
    the loader is collected, which may be in a thread that they are waiting for.
    """
    _mention_processors(workers)
    return _Loader(
        batches,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        # Its own, or starting a loader would draw from the one that training saves and restores.
        generator=torch.Generator(),
        worker_init_fn=_start_worker,
    )


class _Loader(DataLoader[Loaded[B]]):
    """A DataLoader that leaves the number of processes to `_mention_processors`."""

    def check_worker_number_rationality(self) -> None:
        """Says nothing; torch's would say it twice for every loader."""


@lru_cache(maxsize=1)
def _mention_processors(workers: int) -> None:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if count is not None and workers > count:
        logger.warning("data.workers is %d, more than there are processors: %d", workers, count)


def _start_worker(number: int) -> None:
    torch.set_num_threads(1)  # the workers themselves are the parallelism
    keep_freed_memory()  # images come and go by the megabyte
    # Ctrl-C and SIGTERM often reach the whole process group; the main process decides what they
    # mean, and still needs its workers on the way to the checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, args=(os.getppid(),), daemon=True).start()


def _end_when_parent_says(parent: int) -> None:
    """Ends this process at a SIGTERM from `parent`, which waits for that when it exits itself."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
