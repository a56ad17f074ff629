"""The results that a finished run writes: weights, metrics, curves, pictures."""

from __future__ import annotations

import logging
from pathlib import Path

from resnet_backbone.engine import run_folder
from resnet_backbone.engine.environment import now
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.run import Run
from resnet_backbone.report.curves import draw_curves
from resnet_backbone.report.tables import errors_table, metrics_table, per_class_table
from resnet_backbone.utils import distributed, run_layout
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.storage import write_json
from resnet_backbone.utils.text import count_of
from resnet_backbone.weights.files import save_weights

logger = logging.getLogger(__name__)


def finish(run: Run) -> None:
    """Exports the final weights and writes the results; every rank must call it.

    Raises:
        StorageError: a file cannot be written.
    """
    skipped = run.task.skipped()
    with run.exported_weights():
        distributed.on_main(lambda: _write_everything(run, skipped))


def _write_everything(run: Run, skipped: dict[str, list[str]]) -> None:
    output = run.output
    OwnFiles(output, "run").claim(run_folder.AT_THE_END)
    save_weights(run.task.weights(), output / run_layout.WEIGHTS, run.task.card(run.result))
    if run.result is not None:
        _write_results(run, run.result)
    _write_skipped(output / run_layout.SKIPPED, skipped)
    draw_curves(output / run_layout.METRICS, output / run_layout.CURVES)
    run.task.export(output, run.result)
    logger.info("weights, results and pictures are in %s", output)


def _write_results(run: Run, result: EvaluationResult) -> None:
    progress = run.state.progress
    results = result.to_dict() | {
        "dataset": run.task.evaluated_on(),
        "date": now(),
        "step": progress.step,
        "best": {"metric": run.task.score, "value": progress.best, "step": progress.best_step},
    }
    write_json(run.output / run_layout.RESULTS, results)
    logger.info("results per class:\n%s", per_class_table(result.per_class))
    if result.errors:
        logger.info("errors:\n%s", errors_table(result.errors))
    logger.info("validation:\n%s", metrics_table(result.metrics))
    if result.explanation is not None:
        logger.warning(result.explanation)


def _write_skipped(file: Path, skipped: dict[str, list[str]]) -> None:
    for split, lines in skipped.items():
        if lines:
            left_out = count_of(len(lines), "sample or annotation", "samples or annotations")
            logger.warning("%s: %s left out, see %s", split, left_out, file)
    write_json(file, skipped)
