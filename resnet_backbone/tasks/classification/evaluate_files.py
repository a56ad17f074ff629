"""Evaluates weight files of classifiers on the validation images, for tools/evaluate.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.data.labelled.build import (
    build_images,
    check_labelled_files,
    validation_images,
)
from resnet_backbone.engine.environment import now
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.interrupt import stop_flag
from resnet_backbone.engine.trained_reading import read_as_trained
from resnet_backbone.evaluation.classification import ClassificationEvaluator
from resnet_backbone.tasks.classification.evaluate import evaluate_classifier
from resnet_backbone.tasks.classification.trained import (
    in_classes_of_images,
    load_trained_classifier,
    stored_classifier_config,
)
from resnet_backbone.tasks.classification.views import READING, testing_of
from resnet_backbone.utils import distributed, precision, storage
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.folder_lock import output_folder
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import RESULTS

logger = logging.getLogger(__name__)


def evaluate_classifier_files(
    cfg: ClassificationConfig, weights: Sequence[Path], output: Path
) -> EvaluationResult:
    """Evaluates a classifier, or an ensemble, on `cfg.data.val`; every rank must call it.

    The main rank writes results.json to `output`.

    Args:
        cfg: The configuration of the images, and of the test method in `evaluation.testing`.
        weights: One file, or the members of an ensemble, whose probabilities are averaged.
        output: The output folder.

    Raises:
        WeightsError: the weights do not fit the configuration or the images.
        DataError: the images cannot be used.
        StorageError: the output cannot be written.
        Interrupted: SIGINT or SIGTERM was received before there was a result; nothing is written.
    """
    device = pick_device(cfg.device)
    check_labelled_files(cfg.data, to_train=False)
    with ExitStack() as stack:
        flag = stack.enter_context(stop_flag())
        # Checked first, since an evaluation may take an hour.
        distributed.on_main(
            lambda: stack.enter_context(output_folder(output, "evaluation", [RESULTS]))
        )
        cfg = _read_as_trained(cfg, weights)
        images = build_images(cfg.data, batch_size=1, seed=cfg.seed, fill=(0, 0, 0), to_train=False)
        members = [load_trained_classifier(path, cfg, device=device) for path in weights]
        class_names = in_classes_of_images(members, images.class_names, weights)
        testing = testing_of(cfg)
        amp = precision.for_inference(cfg.solver.amp, device)
        precision.log_precision(amp)
        batch_size = cfg.evaluation.batch_size
        result = evaluate_classifier(
            [member.model for member in members],
            images.test_batches(batch_size) if testing is None else images.whole_images(),
            ClassificationEvaluator(class_names),
            device,
            testing=testing,
            amp=amp,
            should_stop=flag.on_any_rank,
        )
        if distributed.is_main():
            _write(result, cfg, weights, output, amp)
    return replace(result, output=output)


def _read_as_trained(cfg: ClassificationConfig, weights: Sequence[Path]) -> ClassificationConfig:
    """Returns `cfg` with how the weights read images, if they all do it alike."""
    stored = [stored_classifier_config(path) for path in weights]
    ways = {own and tuple(getattr(own.data, key) for key in READING) for own in stored}
    if len(ways) > 1:
        logger.warning(
            "the weights were not trained with the same %s; those of the configuration are used",
            ", ".join(f"data.{key}" for key in READING),
        )
    first = stored[0]
    return cfg if first is None or len(ways) > 1 else read_as_trained(cfg, first, READING)


def _write(
    result: EvaluationResult,
    cfg: ClassificationConfig,
    weights: Sequence[Path],
    output: Path,
    amp: precision.Settled,
) -> None:
    content = {
        "weights": [str(path) for path in weights],
        "testing": cfg.evaluation.testing,
        "dataset": validation_images(cfg.data),
        "date": now(),
        "amp": amp,
        **result.to_dict(),
    }
    OwnFiles(output, "evaluation").claim([RESULTS])
    storage.write_json(output / RESULTS, content)
