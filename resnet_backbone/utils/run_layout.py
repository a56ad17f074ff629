"""The names of the files in a run's output folder."""

from __future__ import annotations

import os
from pathlib import Path

from resnet_backbone.errors import WeightsError

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
LOG = "log.txt"
RESULTS = "results.json"
WEIGHTS = "model.safetensors"
BACKBONE = "backbone.safetensors"  # only written for classifiers
CURVES = "curves.png"
ENVIRONMENT = "environment.json"
TENSORBOARD = "tensorboard"
PICTURES = "pictures"
SKIPPED = "skipped_samples.json"


def weights_in(path: str | Path) -> Path:
    """Returns the final weights if `path` is the folder of a run, otherwise `path` itself.

    Raises:
        WeightsError: it is a folder without final weights; the message names the best so far.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    best = sorted(path.glob(f"best/*/{WEIGHTS}"))
    hint = f"the best weights so far are {best[-1]}" if best else "expected a weight file"
    raise WeightsError(f"{path}: a folder without {WEIGHTS}, the weights of a finished run; {hint}")
