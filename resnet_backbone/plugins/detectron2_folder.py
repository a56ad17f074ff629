"""The output folder of a detectron2 run, which is protected against mixing with other runs."""

from __future__ import annotations

import logging
from pathlib import Path

from resnet_backbone.engine import run_folder
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils import run_layout

# The files that detectron2's trainer writes, with the evaluator that we use.
_WRITTEN = (
    *(run_layout.CONFIG, f"{run_layout.LOG}*", "metrics.json", "events.out.tfevents.*"),
    *("last_checkpoint", "model_*.pth"),
    *("inference/coco_instances_results.json", "inference/instances_predictions.pth"),
)
_BOTH_WRITE = {run_layout.CONFIG, run_layout.LOG}

logger = logging.getLogger(__name__)


def claim_for_detectron2(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that the folder's content may be continued or overwritten as requested.

    Raises:
        ConfigError: both `resume` and `overwrite` are set.
        StorageError: there is an earlier run but neither is set, or the run to resume was written
            by our own engine.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other; give only one of them")
    ours, theirs = _ours(output), _theirs(output)
    if overwrite:
        return
    if ours:
        raise StorageError(
            f"{output}: holds a run of our own engine ({', '.join(ours)}); continue it without"
            " --engine detectron2, discard it with --overwrite, or choose another folder with"
            " output=..."
        )
    if theirs and not resume:
        raise StorageError(
            f"{output}: holds another run ({', '.join(path.name for path in theirs)}); continue"
            " it with --resume, discard it with --overwrite, or choose another folder with"
            " output=..."
        )


def discard_any_run(output: Path) -> None:
    """Removes the files of an earlier run of either engine, and nothing else.

    Raises:
        StorageError: they cannot be removed.
    """
    if _ours(output):
        run_folder.discard(output)
    _remove(_theirs(output))


def _ours(output: Path) -> list[str]:
    return sorted(set(run_folder.earlier_run(output)) - _BOTH_WRITE)


def _theirs(output: Path) -> list[Path]:
    return [path for pattern in _WRITTEN for path in sorted(output.glob(pattern))]


def _remove(paths: list[Path]) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove the earlier run: {error}") from error
    if paths:
        logger.info("%s: removed the earlier run", paths[0].parent)
