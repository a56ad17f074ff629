"""Restarts by torchrun (`--max-restarts`), which calls the same command again after a failure.

The restarted processes have the flags of the first ones, so they would discard what those have
trained (`--overwrite`), or refuse it (no flag). Therefore a run that begins leaves a mark of its
torchrun job in the output folder; a process that finds the mark of its own job continues the run.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from resnet_backbone.utils import storage

MARK = ".torchrun_job.json"
_COUNT, _RUN_ID = "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID"


def is_restart(output: Path) -> bool:
    """Returns whether an earlier process of this torchrun job has begun the run in `output`."""
    mark = _read(output / MARK)
    own = _job()
    if own is None or mark.get("process") == own["process"]:
        return False
    if mark.get("agent") == own["agent"]:
        return True
    # Rank 0 may move to another machine. The job's name is weaker: it may be used again later.
    named = own["run_id"] not in ("", "none") and mark.get("run_id") == own["run_id"]
    return named and os.environ[_COUNT] != "0"


def mark_as_begun(output: Path) -> None:
    """Marks the run in `output` as begun by this torchrun job, or by none; main rank only.

    Call it when no earlier run is left there.

    Raises:
        StorageError: the mark cannot be written.
    """
    own = _job()
    if own is not None:
        storage.write_json(output / MARK, own)
    else:
        (output / MARK).unlink(missing_ok=True)


def _job() -> dict[str, str] | None:
    """Returns what identifies this process and its torchrun job; None without torchrun."""
    if _COUNT not in os.environ:
        return None
    run_id = os.environ.get(_RUN_ID, "")
    return {"run_id": run_id, "agent": _process(os.getppid()), "process": _process(os.getpid())}


def _process(pid: int) -> str:
    """Returns a name of a process that no later one has, not even after a reboot."""
    try:
        # proc(5): the command, in brackets, may contain anything; the start time is field 22.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        started = boot = ""
    return f"{socket.gethostname()} {boot} {pid} {started}"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
