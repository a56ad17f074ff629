"""Sends the cases through the pretended GPU, and writes a report.

    PYTHONPATH=tests/helpers python -m fake_gpu tests/fake_gpu/recorded.json

A second argument chooses the cases whose names begin with it.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from fake_gpu import device


def main(report: Path, chosen: str = "") -> None:
    device.add()  # before anything asks for a tensor's device
    from fake_gpu.cases import CASES
    from fake_gpu.faults import FAULTS

    found: dict[str, Any] = {}
    for name, case in (FAULTS | CASES).items():
        if not name.startswith(chosen):
            continue
        begun = time.perf_counter()
        try:
            with device.pretended():
                found[name] = case().report()
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
            if name in CASES:  # the others fail on purpose
                traceback.print_exc()
        sys.stderr.write(f"{time.perf_counter() - begun:5.1f} s  {name}\n")
    torch_version = torch.__version__.partition("+")[0]
    report.write_text(json.dumps({"torch": torch_version, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
