"""Evaluates a detector's weight file on the validation split, for tools/evaluate.py."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.build import (
    build_dataset,
    check_coco_files,
    draw_shapes_dataset,
)
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.engine.environment import now
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.interrupt import stop_flag
from resnet_backbone.engine.trained_reading import read_as_trained
from resnet_backbone.evaluation import Evaluator
from resnet_backbone.evaluation.results_file import ResultsWriter
from resnet_backbone.tasks.detection.classes import in_classes_of_trained
from resnet_backbone.tasks.detection.evaluate import evaluate_split, make_evaluator
from resnet_backbone.tasks.detection.figures import FIGURES, write_figures
from resnet_backbone.tasks.detection.pictures import (
    make_painter,
    write_pictures,
    write_worst_pictures,
)
from resnet_backbone.tasks.detection.trained import READING, load_trained, stored_config
from resnet_backbone.utils import distributed, precision, storage
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.folder_lock import output_folder
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import PICTURES, RESULTS, WORST

DETECTIONS = "detections.json"  # in COCO's results format

logger = logging.getLogger(__name__)


def evaluate_detector_file(cfg: Config, weights: Path, output: Path) -> EvaluationResult:
    """Evaluates on `cfg.data.val`; the main rank writes results.json, figures and pictures.

    Every rank must call it. If there are no annotations, as in COCO's test files, the detections
    are written to detections.json in COCO's results format, for an evaluation server.

    Raises:
        WeightsError: the weights do not fit `cfg` or the annotations.
        DataError: the images or annotations cannot be used.
        StorageError: the output cannot be written.
        Interrupted: SIGINT or SIGTERM was received before there was a result; nothing is written.
    """
    device = pick_device(cfg.device)
    check_coco_files(cfg.data, ["val"])
    own = OwnFiles(output, "evaluation")
    with ExitStack() as stack:
        flag = stack.enter_context(stop_flag())
        # Checked first, since an evaluation may take an hour.
        written = [RESULTS, *FIGURES, f"{PICTURES}/", f"{WORST}/"]
        distributed.on_main(
            lambda: stack.enter_context(output_folder(output, "evaluation", written))
        )
        if cfg.data.shapes is not None:
            distributed.on_main(lambda: draw_shapes_dataset(cfg.data))
        if (stored := stored_config(weights)) is not None:
            cfg = read_as_trained(cfg, stored, READING)
        dataset = build_dataset(
            cfg.data, "val", with_masks=cfg.model.mask, seed=cfg.seed, annotated=False
        )
        trained = load_trained(weights, cfg, device=device)
        dataset = in_classes_of_trained(trained, dataset, str(weights))
        cfg, model = trained.cfg, trained.model
        amp = precision.for_inference(cfg.solver.amp, device)
        precision.log_precision(amp)
        if dataset.annotated:
            evaluator: Evaluator = make_evaluator(cfg, dataset)
        else:
            evaluator = distributed.on_main(lambda: _results_writer(cfg, dataset, own))
            without_loss = cfg.evaluation.model_copy(update={"loss": False})
            cfg = cfg.model_copy(update={"evaluation": without_loss})
        result = evaluate_split(cfg, model, dataset, evaluator, device, flag.on_any_rank)
        if distributed.is_main():
            own.claim([RESULTS])
            about = {"weights": str(weights), "dataset": dataset.description}
            about |= {"date": now(), "amp": amp}
            storage.write_json(output / RESULTS, {**about, **result.to_dict()})
            painter = make_painter(cfg, model, dataset, device)
            write_pictures(painter, own, count=cfg.evaluation.pictures)
            if result.details is not None:
                write_figures(result.details, own)
                count = cfg.evaluation.worst_pictures
                write_worst_pictures(painter, own, result.details, count=count)
    return replace(result, output=output)


def _results_writer(cfg: Config, dataset: CocoDataset, own: OwnFiles) -> ResultsWriter:
    own.claim([DETECTIONS])
    return ResultsWriter(
        own.folder / DETECTIONS,
        category_ids=dataset.category_ids,
        image_ids=dataset.image_ids,
        with_masks=cfg.model.mask,
    )
