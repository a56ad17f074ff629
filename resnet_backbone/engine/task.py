"""What a run trains and on what: the place where model, data and evaluator meet."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from resnet_backbone.config.schema import Config
from resnet_backbone.data.build import (
    build_dataset,
    build_test_loader,
    build_train_loader,
    draw_shapes_dataset,
)
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.engine.evaluate import EvaluationResult, evaluate
from resnet_backbone.engine.pictures import write_pictures
from resnet_backbone.evaluation.coco import CocoEvaluator
from resnet_backbone.structures import Batch
from resnet_backbone.utils import distributed

logger = logging.getLogger(__name__)


class DetectionTask:
    """A detector, the images to train it on, and those to judge it by.

    Args:
        cfg: Scaled to the batch size.
        device: Where the model goes.

    Attributes:
        model: On `device`.
        class_names: By class index.
        category_ids: COCO's id by class index.
        fingerprint: SHA-256 of the annotation files, by which a resumed run knows its data.

    Raises:
        DataError: the datasets cannot be used.
        ConfigError: model and data do not fit each other.
        WeightsError: the initial weights cannot be loaded.
    """

    def __init__(self, cfg: Config, device: torch.device) -> None:
        self.cfg = cfg
        self.device = device
        if cfg.data.shapes is not None:
            distributed.on_main(lambda: draw_shapes_dataset(cfg.data))
        self._train, self._val = (
            build_dataset(cfg.data, split, with_masks=cfg.model.mask, seed=cfg.seed)
            for split in ("train", "val")
        )
        self.class_names = self._train.class_names
        self.category_ids = self._train.category_ids
        self.fingerprint = {
            "train": _digest(self._train.annotations),
            "val": _digest(self._val.annotations),
        }
        self.model: RCNN = build_detector(cfg, len(self.class_names)).to(device)
        self._evaluator = CocoEvaluator(
            self._val.annotations,
            category_ids=self._val.category_ids,
            class_names=self._val.class_names,
            image_ids=self._val.image_ids,
            tasks=("bbox", "segm") if cfg.model.mask else ("bbox",),
            leave_out=self._val.defects.rejected,
        )

    @property
    def score(self) -> str:
        """The metric that decides which weights are best."""
        return "segm/AP" if self.cfg.model.mask else "bbox/AP"

    def training_batches(self, start_step: int) -> Iterator[Batch]:
        """Yields this rank's share of all batches from `start_step` on, without end."""
        solver = self.cfg.solver
        if solver.batch_size is None:
            raise ValueError("the configuration is not scaled to a batch size")
        loader = build_train_loader(
            self.cfg.data,
            self._train,
            batch_size=solver.batch_size,
            seed=self.cfg.seed,
            start_step=start_step,
            accumulate=solver.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        return iter(loader)

    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        """Judges the model as it is; every rank must call it."""
        loader = build_test_loader(
            self.cfg.data,
            self._val,
            batch_size=self.cfg.evaluation.batch_size,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        return evaluate(
            self.model,
            loader,
            self._evaluator,
            self.device,
            with_loss=self.cfg.evaluation.loss,
            should_stop=should_stop,
        )

    def skipped(self) -> dict[str, list[str]]:
        """Returns a line for everything that was left out of the data; every rank must call it."""
        lines = {}
        for split, dataset in (("train", self._train), ("val", self._val)):
            shares = distributed.all_gather_object(dataset.skipped)
            unreadable = sorted({line for share in shares for line in share})
            lines[split] = [str(defect) for defect in dataset.defects.dropped] + unreadable
        return lines

    def draw(self, folder: Path) -> None:
        """Draws detections beside ground truth on the first validation images."""
        loader = build_test_loader(self.cfg.data, self._val, batch_size=1)
        count = self.cfg.evaluation.pictures
        write_pictures(self.model, loader, self.class_names, folder, self.device, count=count)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
