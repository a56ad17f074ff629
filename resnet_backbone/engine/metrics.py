"""Metrics reported during a run: JSON lines, TensorBoard, and a progress bar or log lines."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from resnet_backbone.errors import StorageError
from resnet_backbone.utils.logging import PACKAGE
from resnet_backbone.utils.progress import bar_options
from resnet_backbone.utils.storage import read_regular, write_file
from resnet_backbone.utils.text import count_of

SUMMARY_WIDTH = 86  # with time, level and "step 720000/720000 " a line of the log has 120 columns
LOSSES_INDENT = " " * 14  # below the text after time and level

logger = logging.getLogger(__name__)

Line = Mapping[str, float | int | None]


class MetricsLog:
    """Appends metrics to a JSON-lines file and to TensorBoard.

    Args:
        file: The JSON-lines file.
        tensorboard: The folder for TensorBoard.
        step: The step at which the run starts or resumes. Later steps are removed from both, and so
            is an evaluation at this step, because it is repeated.

    Raises:
        StorageError: the file or the folder cannot be written.
    """

    def __init__(self, file: Path, tensorboard: Path, step: int) -> None:
        self.path = file
        self._files = ExitStack()
        kept = _truncate(file, step)
        try:
            self._file = file.open("a", encoding="utf-8")
            self._files.callback(self._file.close)
            # TensorBoard then ignores what earlier files have from this step on.
            self._board = SummaryWriter(str(tensorboard), purge_step=step)
            self._files.enter_context(_quiet_threads())
            self._files.callback(self._board.close)
        except OSError as error:
            raise _unwritable(file, error) from error
        if step and kept.get("step") == step:
            self._show(step, {name: kept[name] for name in kept if name != "step"})

    def write(self, step: int, line: Line) -> None:
        """Appends the metrics of a step.

        Raises:
            StorageError: they cannot be written.
        """
        try:
            self._file.write(json.dumps({"step": step, **line}) + "\n")
            self._file.flush()
            self._show(step, line)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Flushes and closes both files.

        Raises:
            StorageError: what was still to be written cannot be.
        """
        try:
            self._files.close()  # closes both, whichever fails
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _show(self, step: int, line: Line) -> None:
        for name, value in line.items():
            if value is not None:
                self._board.add_scalar(name, value, step)


def _unwritable(file: Path, error: OSError) -> StorageError:
    # An error of TensorBoard's thread may come with a write of ours, and its path is not text.
    return StorageError(f"{file.parent}: metrics cannot be written: {error.strerror or error}")


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keeps the thread of `SummaryWriter` from printing an OSError, which it also hands to us."""
    former = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            former(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = former


class ProgressBar:
    """A progress bar on the terminal of the main rank; elsewhere it shows nothing.

    Args:
        step: Steps already done.
        total: Total number of steps.
        enabled: Whether this is the main rank.
    """

    def __init__(self, step: int, total: int, *, enabled: bool) -> None:
        self._stack = ExitStack()
        options = bar_options() if enabled else {"disable": True}
        self._bar = tqdm(initial=step, total=total, desc="training", **options)
        if not self._bar.disable:
            redirect = logging_redirect_tqdm([logging.getLogger(PACKAGE)])
            self._stack.enter_context(redirect)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._stack.close()

    def advance(self, loss: float) -> None:
        """Counts a step and shows its loss next to the bar."""
        self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self._bar.update()


class Clock:
    """Measures separately how long steps wait for data and how long they compute.

    On a GPU, work that is still running at the end of a step counts towards the next one.
    """

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._data = self._compute = self._total = 0.0
        self._steps = self._all_steps = 0

    def start(self) -> None:
        """Starts a step; the time since the last call of any method is not counted."""
        self._last = time.perf_counter()

    def loaded(self) -> None:
        """Marks that the data of the step are loaded."""
        self._data += self._lap()

    def computed(self) -> None:
        """Marks that the step is done."""
        self._compute += self._lap()
        self._steps += 1

    @property
    def seconds_per_step(self) -> float:
        """Mean time of all steps so far."""
        total = self._total + self._data + self._compute
        return total / max(1, self._all_steps + self._steps)

    def read(self, steps_left: int) -> dict[str, float]:
        """Returns the mean seconds per step since the last call, and the seconds that remain."""
        steps, self._all_steps = max(1, self._steps), self._all_steps + self._steps
        self._total += self._data + self._compute
        line = {
            "time_data": self._data / steps,
            "time_compute": self._compute / steps,
            "eta_s": steps_left * self._total / max(1, self._all_steps),
        }
        self._data, self._compute, self._steps = 0.0, 0.0, 0
        return line

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._last = now - self._last, now
        return lap


def summary(line: Line) -> str:
    """Formats a line of training metrics for the log; on two lines if one would be too long."""
    losses = " ".join(
        f"{name.removeprefix('loss_')} {value:.3f}"
        for name, value in line.items()
        if name.startswith("loss_") and value is not None
    )
    error = "" if line.get("error") is None else f" error {line['error']:.3f}"
    eta = int(line["eta_s"] or 0)
    clock = f"{eta // 3600}:{eta // 60 % 60:02d}:{eta % 60:02d}"
    total = f"loss {line['loss']:.3f}"
    rest = (
        f"{error} lr {line['lr']:.2g} "
        f"data {line['time_data']:.3f} s compute {line['time_compute']:.3f} s eta {clock}"
    )
    whole = f"{total} ({losses}){rest}"
    return whole if len(whole) <= SUMMARY_WIDTH else f"{total}{rest}\n{LOSSES_INDENT}{losses}"


def _truncate(file: Path, step: int) -> dict[str, Any]:
    """Removes lines that will be written again, and an incomplete last one; returns the last."""
    try:
        lines = read_regular(file).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error}") from error
    kept = [line for line in lines if _is_before(line, step)]
    if len(kept) < len(lines):
        removed = count_of(len(lines) - len(kept), "line")
        logger.info("%s: removed %s past step %d", file, removed, step)
    write_file(file, "".join(f"{line}\n" for line in kept).encode())
    return json.loads(kept[-1]) if kept else {}


def _is_before(line: str, step: int) -> bool:
    try:
        record = json.loads(line)
        return record["step"] < step or (record["step"] == step and "lr" in record)
    except (ValueError, TypeError, KeyError):
        return False
