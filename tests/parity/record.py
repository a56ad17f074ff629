"""Writes what detectron2 computes for the parity cases into tests/assets, a file per case.

PYTHONPATH=/path/to/detectron2:benchmarks:tests/helpers python tests/parity/record.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peers
from detectron2_numbers import CONFIGS, their_losses, their_numbers
from parity_cases import RECORDED, condense, fingerprint

ASSETS = Path(__file__).resolve().parents[1] / "assets"

if __name__ == "__main__":
    for case in RECORDED:
        ours = case.model()
        theirs = peers.build_detectron2(case.name, ours, str(CONFIGS), case.options)
        batch = case.batch(ours)
        inputs = peers.detectron2_inputs(batch, training=False)
        recorded = condense(their_numbers(theirs, inputs))
        losses = their_losses(theirs, peers.detectron2_inputs(batch, training=True))
        recorded |= {f"loss/{name}": np.array(loss.item()) for name, loss in losses.items()}
        recorded["weights"] = fingerprint(ours)
        np.savez_compressed(ASSETS / f"detectron2_{case.name}.npz", **recorded)
        print(f"recorded {case.name}")
