"""When, where and with which versions something was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("resnet-backbone", "torch", "torchvision", "numpy", "pillow")


def environment(ranks: int) -> dict[str, Any]:
    """Returns JSON values that tell how to repeat a run: command, date, versions, machine.

    Args:
        ranks: Number of ranks.
    """
    return {
        "command": sys.argv,
        "date": now(),
        "commit": commit(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "ranks": ranks,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def now() -> str:
    """Returns the time in UTC, as in "2026-03-01T14:05:09+00:00"."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def processor() -> str:
    """Returns the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit(folder: Path) -> str | None:
    """Returns the commit of the checkout that holds `folder`, with "+" if files were changed.

    None for an installed package, or without git.
    """
    if not any((parent / ".git").exists() for parent in folder.resolve().parents):
        return None
    git = ["git", "-C", str(folder)]
    try:
        head = _output([*git, "rev-parse", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no", "."])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changed else head


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    """Returns a package's version; None for a checkout that is on the path, but not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
