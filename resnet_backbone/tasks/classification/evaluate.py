"""Evaluates classifiers on a split."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.classification.testing import Testing, ensemble
from resnet_backbone.engine.evaluation import EvaluationResult, Loader, checked_batches
from resnet_backbone.evaluation.classification import ClassificationEvaluator
from resnet_backbone.structures import ImageBatch
from resnet_backbone.utils import distributed, precision


def evaluate_classifier(
    members: Sequence[ImageClassifier],
    loader: Loader[ImageBatch],
    evaluator: ClassificationEvaluator,
    device: torch.device,
    *,
    testing: Testing | None = None,
    amp: precision.Settled = "off",
    should_stop: Callable[[], bool] = lambda: False,
) -> EvaluationResult:
    """Evaluates the mean of the members' probabilities on this rank's images; a collective call.

    The members' training or evaluation mode is restored afterwards.

    Args:
        members: One or more classifiers on `device`; several form an ensemble.
        loader: Batches of test crops or, with `testing`, of one whole image each.
        evaluator: Computes the metrics; it is reset first.
        device: The device that batches are moved to.
        testing: The test method, which averages over views of an image; None classifies the batches
            as they are.
        amp: The layers' precision; probabilities are float32.
        should_stop: Called before every batch, see `checked_batches`.

    Returns:
        The metrics, with the mean of -log p of the true class as the loss.

    Raises:
        Interrupted: `should_stop` returned true; there is no result.
    """
    modes = [member.training for member in members]
    evaluator.reset()
    loss_sum, count, start = 0.0, 0, time.perf_counter()
    try:
        for member in members:
            member.eval()
        with torch.inference_mode(), precision.autocast(amp, device):
            for batch in checked_batches(loader, should_stop):
                moved = batch.to(device)
                probabilities = _ensemble(members, moved, testing)  # [B, K]
                evaluator.process(probabilities.cpu(), batch.labels.cpu(), batch.image_ids)
                # [B, 1], the probability of the true class
                right = probabilities.gather(1, moved.labels[:, None]).clamp_min(1e-12)
                loss_sum, count = loss_sum - float(right.log().sum()), count + len(batch)
            metrics = evaluator.evaluate()
    finally:
        for member, mode in zip(members, modes, strict=True):
            member.train(mode)
    shares = distributed.all_gather_object((loss_sum, count))
    images = sum(own for _, own in shares)
    loss = sum(share for share, _ in shares) / max(1, images)
    return EvaluationResult(
        metrics,
        {"loss": loss},
        evaluator.explanation,
        evaluator.per_class,
        images=images,
        seconds=time.perf_counter() - start,
    )


def _ensemble(
    members: Sequence[ImageClassifier], batch: ImageBatch, testing: Testing | None
) -> Tensor:
    """Returns float32[B, K], the mean of the members' probabilities."""
    if testing is not None:
        return ensemble([member.scores for member in members], list(batch.images), testing)
    votes = [member.scores(batch.images).softmax(dim=1) for member in members]
    return torch.stack(votes).mean(dim=0)
