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
BEST = "best"
TENSORBOARD = "tensorboard"
PICTURES = "pictures"
WORST = "pictures/worst"
TRAIN_BATCHES = "train_batches.png"
LABELS = "labels.png"  # only written for detectors
SKIPPED = "skipped_samples.json"
# Only written for detectors.
PRECISION_RECALL = "precision_recall.png"
PRECISION_RECALL_DATA = "precision_recall.json"
CONFUSION = "confusion.png"
CONFUSION_DATA = "confusion.json"


def weights_of_run(folder: Path) -> Path | None:
    """Returns the final weights of a run's folder, or the best of its folder `best`, if any."""
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    best = sorted(folder.glob(f"step_*/{WEIGHTS}")) if folder.name == BEST else []
    return best[-1] if best else None


def weights_in(path: str | Path) -> Path:
    """Returns the weights that a folder stands for; `path` itself if it is a file.

    A run's folder stands for its final weights, and its folder `best` for the best.

    Raises:
        WeightsError: it is a folder without final weights; the message names the best so far.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        return path
    if (weights := weights_of_run(path)) is not None:
        return weights
    best = sorted(path.glob(f"{BEST}/*/{WEIGHTS}"))
    hint = f"the best weights so far are {best[-1]}" if best else "expected a weight file"
    raise WeightsError(f"{path}: a folder without {WEIGHTS}, the weights of a finished run; {hint}")
