"""The task of training a detector, which combines model, images and evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from resnet_backbone.backbone.norm import NORM_EPS
from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.build import (
    build_dataset,
    build_train_loader,
    check_coco_files,
    draw_shapes_dataset,
)
from resnet_backbone.data.loading.shared_images import warn_of_shared_images
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.from_weights import with_settings_of
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.detection.settle import (
    read_initial_weights,
    recipe_warnings,
    settle_detector,
)
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.task import Settled, Task
from resnet_backbone.report.label_statistics import draw_label_statistics
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.tasks.detection.classes import Classes, in_classes_of
from resnet_backbone.tasks.detection.evaluate import evaluate_split, make_evaluator
from resnet_backbone.tasks.detection.figures import write_figures
from resnet_backbone.tasks.detection.label_statistics import label_statistics
from resnet_backbone.tasks.detection.pictures import (
    make_painter,
    write_pictures,
    write_worst_pictures,
)
from resnet_backbone.tasks.detection.samples import draw_targets
from resnet_backbone.utils import distributed
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import PICTURES
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.stored import Stored


class DetectionTask(Task[Config]):
    """A detector, the images to train it on, and the images to evaluate it on.

    Args:
        cfg: The configuration, scaled to the batch size.
        device: The device of the model.
        weights: The weights that `cfg` names, if they have already been read.

    Attributes:
        model: The detector, on `device`.
        class_names: The name of each class.
        category_ids: The COCO category id of each class.
        fingerprint: SHA-256 of the annotation files, which identifies the data to a resumed run.

    Raises:
        DataError: the datasets cannot be used.
        ConfigError: model and data do not fit each other.
        WeightsError: the initial weights cannot be loaded.
    """

    label = "boxes"

    @classmethod
    def check_files(cls, cfg: Config) -> None:
        """Raises DataError if images or annotations do not exist."""
        check_coco_files(cfg.data)

    @classmethod
    def settle(cls, cfg: Config) -> Settled[Config]:
        """Returns `cfg` completed from its initial weights, and warnings; see `settle_detector`."""
        weights = read_initial_weights(cfg.model)
        settled = settle_detector(with_settings_of(cfg, weights), weights)
        warnings = (*recipe_warnings(settled, weights), *_frozen_at_random(settled))
        return Settled(settled, weights, warnings)

    def __init__(self, cfg: Config, device: torch.device, weights: Stored | None = None) -> None:
        self.cfg = cfg
        self.device = device
        if cfg.data.shapes is not None:
            distributed.on_main(lambda: draw_shapes_dataset(cfg.data))
        mask, seed = cfg.model.mask, cfg.seed
        self._train = build_dataset(cfg.data, "train", with_masks=mask, seed=seed)
        # Validation and the exported weights take 16-bit images as training does.
        data = cfg.data.model_copy(update={"bit_depth": self._train.bit_depth})
        self.cfg = cfg.model_copy(update={"data": data})
        val = build_dataset(data, "val", with_masks=mask, seed=seed)
        warn_of_shared_images(self._train.files, val.files, val.description)
        self.class_names = self._train.class_names
        self.category_ids = self._train.category_ids
        classes = Classes(self.class_names, self.category_ids, str(self._train.annotations))
        self._val = in_classes_of(classes, val)
        # Without any outline in the validation images there is no mask AP to judge by.
        outlined = cfg.model.mask and bool(self._val.object_counts.any())
        self.score = "segm/AP" if outlined else "bbox/AP"
        self.fingerprint = {
            "train": _digest(self._train.annotations),
            "val": _digest(self._val.annotations),
        }
        self.model: RCNN = build_detector(
            cfg, len(self.class_names), weights=weights, class_names=self.class_names
        ).to(device)
        self._evaluator = make_evaluator(cfg, self._val)

    @property
    def training_images(self) -> int:
        """The number of training images."""
        return len(self._train)

    def label_counts(self) -> dict[str, int]:
        """Returns the number of boxes to train on, by class."""
        counts = self._train.class_counts.tolist()
        return dict(zip(self.class_names, counts, strict=True))

    def draw_labels(self, file: Path) -> None:
        """Draws classes, sizes, shapes and places of the boxes to train on."""
        draw_label_statistics(label_statistics(self.cfg, self._train), file)

    def training_batches(self, start_step: int) -> Iterator[Batch]:
        """Yields this rank's micro-batches from `start_step` on, without end."""
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
            size_divisor=self.model.size_divisor,
        )
        return iter(loader)

    def draw_samples(self, batch: Batch | ImageBatch, count: int) -> list[Image.Image]:
        """Returns training images at the size that the network sees, with boxes and masks."""
        return draw_targets(batch, self.class_names, count) if isinstance(batch, Batch) else []

    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        """Evaluates the model with its current weights; every rank must call it."""
        return evaluate_split(
            self.cfg, self.model, self._val, self._evaluator, self.device, should_stop
        )

    def draw_progress(self, folder: Path, name: str) -> None:
        """Draws the first validation images: always the same, to be compared over the run."""
        count, own = self.cfg.evaluation.progress_pictures, OwnFiles(folder, "run")
        painter = make_painter(self.cfg, self.model, self._val, self.device)
        write_pictures(painter, own, count=count, folder=f"{PICTURES}/{name}")

    def evaluated_on(self) -> str:
        """Returns the path of the validation annotations."""
        return self._val.description

    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, a line for each sample left out; every rank must call it."""
        lines = {}
        for split, dataset in (("train", self._train), ("val", self._val)):
            shares = distributed.all_gather_object(dataset.skipped)
            unreadable = sorted({line for share in shares for line in share})
            lines[split] = [str(defect) for defect in dataset.defects.dropped] + unreadable
        return lines

    def identity(self) -> dict[str, Any]:
        """Returns JSON values that identify the dataset to a resumed run."""
        return {
            "class_names": self.class_names,
            "category_ids": self.category_ids,
            "dataset": self.fingerprint,
        }

    def card(self, result: EvaluationResult | None) -> dict[str, str]:
        """Returns the metadata for exported weights, from which the detector can be rebuilt."""
        return self._weights_card().to_metadata() | {
            "config": self.cfg.model_dump_json(),
            "class_names": json.dumps(self.class_names),
            "category_ids": json.dumps(self.category_ids),
        }

    def export(self, folder: Path, result: EvaluationResult | None) -> None:
        """Draws the first and the worst validation images, and figures about the evaluation."""
        own = OwnFiles(folder, "run")
        painter = make_painter(self.cfg, self.model, self._val, self.device)
        write_pictures(painter, own, count=self.cfg.evaluation.pictures)
        if result is not None and result.details is not None:
            write_figures(result.details, own)
            count = self.cfg.evaluation.worst_pictures
            write_worst_pictures(painter, own, result.details, count=count)

    def _weights_card(self) -> WeightsCard:
        """Returns the card for using the backbone elsewhere."""
        backbone, pixels = self.cfg.model.backbone, self.cfg.model.pixels
        return WeightsCard(
            arch=backbone.name,
            layout="ours",
            stride_in_1x1=backbone.stride_in_1x1,
            channel_order=pixels.channel_order,
            mean=pixels.mean,
            std=pixels.std,
            norm_eps=NORM_EPS if backbone.norm_eps is None else backbone.norm_eps,
            source=f"resnet_backbone, {self.cfg.name}",
        )


def _frozen_at_random(cfg: Config) -> tuple[str, ...]:
    backbone = cfg.model.backbone
    drawn = backbone.weights is None and cfg.model.weights is None
    if not drawn or (backbone.norm != "FrozenBN" and backbone.freeze_at == 0):
        return ()
    return (
        f"model.backbone.weights is not set, but norm is {backbone.norm} and freeze_at is "
        f"{backbone.freeze_at}: parts of the backbone keep their random initialisation",
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
