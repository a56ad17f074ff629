"""Writes what detectron2 computes for the parity cases into tests/assets, a file per case.

PYTHONPATH=/path/to/detectron2:benchmarks:tests/helpers:tests/parity python tests/parity/record.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peers
from parity_cases import RECORDED, condense
from test_detectron2 import CONFIGS, their_losses, their_numbers

ASSETS = Path(__file__).resolve().parents[1] / "assets"

if __name__ == "__main__":
    for case in RECORDED:
        theirs = peers.build_detectron2(case.name, case.model(), str(CONFIGS), case.options)
        batch = case.batch()
        recorded = condense(their_numbers(theirs, batch))
        losses = their_losses(theirs, batch)
        recorded |= {f"loss/{name}": np.array(loss.item()) for name, loss in losses.items()}
        np.savez_compressed(ASSETS / f"detectron2_{case.name}.npz", **recorded)
        print(f"recorded {case.name}")
