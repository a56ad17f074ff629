"""Runs a detector over a split and judges it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.build import build_test_loader
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.engine.evaluation import EvaluationResult, Loader, checked_batches
from resnet_backbone.evaluation import CocoEvaluator, Evaluator
from resnet_backbone.structures import Batch
from resnet_backbone.utils import distributed, precision
from resnet_backbone.utils.text import count_of

logger = logging.getLogger(__name__)


def make_evaluator(cfg: Config, dataset: CocoDataset) -> CocoEvaluator:
    """Returns what judges detections on a split; warns of images that hold too many objects."""
    _warn_of_crowded_images(dataset, cfg.model.roi.detections_per_image)
    return CocoEvaluator(
        dataset.annotations,
        category_ids=dataset.category_ids,
        class_names=dataset.class_names,
        image_ids=dataset.image_ids,
        tasks=("bbox", "segm") if cfg.model.mask else ("bbox",),
        checked=dataset.ground_truth,
        max_detections=cfg.evaluation.max_detections,
    )


def _warn_of_crowded_images(dataset: CocoDataset, limit: int) -> None:
    counts = dataset.object_counts
    crowded = int((counts > limit).sum())
    if crowded and distributed.is_main():
        logger.warning(
            "%s: %d of %s hold more objects, up to %d, than the detector returns: raise "
            "model.roi.detections_per_image, now %d",
            dataset.description,
            crowded,
            count_of(len(counts), "image"),
            counts.max(),
            limit,
        )


def evaluate_split(
    cfg: Config,
    model: RCNN,
    dataset: CocoDataset,
    evaluator: Evaluator,
    device: torch.device,
    should_stop: Callable[[], bool],
) -> EvaluationResult:
    """Judges `model` on a split as `cfg.evaluation` says; arguments as of `evaluate`."""
    loader = build_test_loader(
        cfg.data,
        dataset,
        batch_size=cfg.evaluation.batch_size,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        size_divisor=model.size_divisor,
    )
    return evaluate_detector(
        model,
        loader,
        evaluator,
        device,
        with_loss=cfg.evaluation.loss,
        amp=precision.for_inference(cfg.solver.amp, device),
        should_stop=should_stop,
    )


def evaluate_detector(
    model: RCNN,
    loader: Loader[Batch],
    evaluator: Evaluator,
    device: torch.device,
    *,
    with_loss: bool,
    should_stop: Callable[[], bool],
    amp: precision.Settled = "off",
) -> EvaluationResult:
    """Judges `model` on the images of `loader`, this rank's share; every rank must call it.

    The model is left in the mode it came in.

    Args:
        model: On `device`, not wrapped by DDP.
        loader: Batches with targets if `with_loss`. Ranks may have different numbers of them.
        evaluator: Reset here.
        device: Where batches go.
        with_loss: Also compute the losses, on the same batches.
        should_stop: Asked before every batch, equally often on all ranks, so it may communicate;
            must answer alike on all of them.
        amp: The layers' precision.

    Raises:
        Interrupted: `should_stop` said so; nothing is judged then.
    """
    was_training = model.training
    model.eval()
    evaluator.reset()
    tally, first, start = _Tally(), None, time.perf_counter()
    try:
        with torch.inference_mode(), precision.autocast(amp, device):
            for batch in checked_batches(loader, should_stop):
                first = first or batch
                moved = batch.to(device)
                detections = model.detect(moved)
                evaluator.process(detections)
                losses = model.losses(moved) if with_loss else {}
                tally.add(len(batch.image_ids), sum(map(len, detections)), losses)
            metrics, total = evaluator.evaluate(), tally.over_ranks()
            explanation = evaluator.explanation
            if explanation and not total.predictions:
                explanation += " " + _describe_scores(model, first, device)
    finally:
        model.train(was_training)
    loss = total.mean_loss() if with_loss else None
    return EvaluationResult(
        metrics,
        loss,
        explanation,
        evaluator.per_class,
        evaluator.errors,
        details=evaluator.details,
        images=total.images,
        seconds=time.perf_counter() - start,
    )


@dataclass
class _Tally:
    """What the batches of one or all ranks sum up to.

    Attributes:
        images: How many.
        predictions: How many.
        losses: Sum over images of each loss.
    """

    images: int = 0
    predictions: int = 0
    losses: Counter[str] = field(default_factory=Counter)

    def add(self, images: int, predictions: int, losses: Mapping[str, Tensor]) -> None:
        """Adds a batch; `losses` are means over its images."""
        self.images += images
        self.predictions += predictions
        if losses:
            # One question to the device instead of one per loss.
            values = torch.stack(list(losses.values())).tolist()
            for name, value in zip(losses, values, strict=True):
                self.losses[name] += value * images

    def over_ranks(self) -> _Tally:
        """Returns the sum of all ranks' tallies."""
        total = _Tally()
        for share in distributed.all_gather_object(self):
            total.images += share.images
            total.predictions += share.predictions
            total.losses.update(share.losses)
        return total

    def mean_loss(self) -> dict[str, float]:
        """Returns each loss per image, and their sum as "loss"."""
        means = {name: value / self.images for name, value in self.losses.items()}
        return {"loss": sum(means.values())} | means


def _describe_scores(model: RCNN, batch: Batch | None, device: torch.device) -> str:
    """Says how far the best score of each rank's first batch is from the threshold."""
    best = max(distributed.all_gather_object(_highest_score(model, batch, device)))
    threshold = model.roi_heads.settings.score_threshold
    return f"The highest score in the first images is {best:.2g}; the threshold is {threshold:g}."


def _highest_score(model: RCNN, batch: Batch | None, device: torch.device) -> float:
    """The best score in a batch, whatever the threshold; 0 where there is none."""
    if batch is None:
        return 0.0
    settings = model.roi_heads.settings
    model.roi_heads.settings = replace(settings, score_threshold=0.0)
    try:
        found = model.detect(batch.to(device))
    finally:
        model.roi_heads.settings = settings
    return max((float(image.scores.max()) for image in found if len(image)), default=0.0)
