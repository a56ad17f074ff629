"""The output folder of a detectron2 run, which is protected against mixing with other runs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from resnet_backbone.engine import run_folder
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.utils import run_layout
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.text import listing

ANNOTATIONS = "val_annotations.json"  # what detectron2's evaluator judges by

# The files that detectron2's trainer writes, with the evaluator that we use.
_ALWAYS = (
    *(
        run_layout.CONFIG,
        run_layout.LOG,
        ANNOTATIONS,
        "metrics.json",
        "last_checkpoint",
        "model_final.pth",
    ),
    *("inference/coco_instances_results.json", "inference/instances_predictions.pth"),
)
_EVENTS = "events.out.tfevents.*"
_WRITTEN = (*_ALWAYS, f"{run_layout.LOG}.rank*", "model_*.pth", _EVENTS)


def claim_for_detectron2(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that the folder's content may be continued or overwritten as requested.

    As with our engine, only files on our list count as a run, see `OwnFiles`.

    Raises:
        ConfigError: both `resume` and `overwrite` are set.
        StorageError: there is an earlier run but neither is set, the run to resume was written by
            our own engine, or others' files have the names of files that a run writes.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other; give only one of them")
    found = run_folder.earlier_run(output)
    ours = [name for name in found if not any(fnmatchcase(name, known) for known in _WRITTEN)]
    if ours and not overwrite:
        raise StorageError(
            f"{output}: holds a run of our own engine ({listing(ours)}); continue it without"
            " --engine detectron2, discard it with --overwrite, or choose another folder with"
            " output=..."
        )
    if found and not resume and not overwrite:
        raise StorageError(
            f"{output}: holds another run ({listing(found)}); continue it with --resume, discard it"
            " with --overwrite, or choose another folder with output=..."
        )
    own = OwnFiles(output, "run")
    if resume and (output / "last_checkpoint").is_file():
        # Checkpoints to continue from, perhaps of detectron2's own command.
        own.adopt(name for name in _ALWAYS if (output / name).is_file())
        own.adopt(path.name for path in output.glob("model_*.pth"))
    own.check(_ALWAYS)


def list_files(output: Path, *, steps: int, period: int, ranks: int) -> None:
    """Puts the files that detectron2's trainer is going to write on our list.

    Args:
        output: The output folder.
        steps: Number of training steps.
        period: Steps between checkpoints; the trainer counts from 0 in their names.
        ranks: Number of ranks.

    Raises:
        StorageError: others' files have these names, or the list cannot be written.
    """
    checkpoints = [f"model_{step - 1:07d}.pth" for step in range(period, steps + 1, period)]
    logs = [f"{run_layout.LOG}.rank{rank}" for rank in range(1, ranks)]
    OwnFiles(output, "run").claim([*_ALWAYS, *checkpoints, *logs])


def list_events(output: Path, before: set[Path]) -> None:
    """Puts TensorBoard's files on our list, except those that were there before the run."""
    OwnFiles(output, "run").adopt(path.name for path in event_files(output) - before)


def event_files(output: Path) -> set[Path]:
    """Returns TensorBoard's files, whose names are known only when they are written."""
    return set(output.glob(_EVENTS))
