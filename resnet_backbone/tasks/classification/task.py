"""The task of training a classifier, which combines model, images and evaluation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from resnet_backbone.classification.build import build_image_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.classification.settle import settle_classifier
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.data.labelled.build import (
    build_images,
    check_labelled_files,
    validation_images,
)
from resnet_backbone.data.labelled.labelled_images import Color, LabelledImages, Steps
from resnet_backbone.data.labelled.mean_image import read_mean_image
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.task import Settled, Task
from resnet_backbone.evaluation.classification import ClassificationEvaluator
from resnet_backbone.structures import Batch, ImageBatch
from resnet_backbone.tasks.classification.evaluate import evaluate_classifier
from resnet_backbone.tasks.classification.export import backbone_weights, classifier_card
from resnet_backbone.tasks.classification.mixing import Mixing
from resnet_backbone.tasks.classification.samples import draw_labels
from resnet_backbone.utils import distributed, precision
from resnet_backbone.utils.run_layout import BACKBONE
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import Stored, read_weights

logger = logging.getLogger(__name__)

MEAN_IMAGE = "pixel_mean"  # name of the mean image among the weights, if there is one


class ClassificationTask(Task[ClassificationConfig]):
    """A classifier, the images to train it on, and the images to evaluate it on.

    Args:
        cfg: The configuration, scaled to the batch size.
        device: The device of the model.
        weights: The weights that `cfg` names, if they have already been read.

    Raises:
        DataError: the images cannot be used.
        ConfigError: model and data do not fit each other.
        WeightsError: the initial weights cannot be loaded.
    """

    label = "of them"
    score = "classification/top1_error"
    lower_is_better = True

    @classmethod
    def check_files(cls, cfg: ClassificationConfig) -> None:
        """Raises DataError if images do not exist, or ConfigError about the mean image."""
        check_labelled_files(cfg.data)
        if cfg.model.mean_image not in (None, "auto"):
            read_mean_image(Path(cfg.model.mean_image), cfg.data.size)

    @classmethod
    def settle(cls, cfg: ClassificationConfig) -> Settled[ClassificationConfig]:
        """Returns `cfg` completed from its initial weights, see `settle_classifier`."""
        source = cfg.model.weights
        weights = None if source is None else read_weights(source, cfg.model.name)
        model = settle_classifier(cfg.model, weights)
        return Settled(cfg.model_copy(update={"model": model}), weights)

    def __init__(
        self, cfg: ClassificationConfig, device: torch.device, weights: Stored | None = None
    ) -> None:
        self.device = device
        self._images = build_images(
            cfg.data, batch_size=cfg.solver.batch_size or 1, seed=cfg.seed, fill=_fill(cfg)
        )
        # The exported weights keep how 16-bit images were read.
        data = cfg.data.model_copy(update={"bit_depth": self._images.bit_depth})
        self.cfg = cfg.model_copy(update={"data": data})
        self.class_names = self._images.class_names
        mean_image = _mean_image(cfg, self._images)
        self.model: ImageClassifier = build_image_classifier(
            cfg.model,
            len(self.class_names),
            mean_image=mean_image,
            weights=weights,
            class_names=self.class_names,
        ).to(device)
        self._evaluator = ClassificationEvaluator(self.class_names)
        self._mixing = _mixing(cfg, len(self.class_names))

    @property
    def training_images(self) -> int:
        """The number of training images."""
        return len(self._images)

    def label_counts(self) -> dict[str, int]:
        """Returns the number of training images of each class."""
        counts = self._images.class_counts().tolist()
        return dict(zip(self.class_names, counts, strict=True))

    def training_batches(self, start_step: int) -> Iterator[ImageBatch]:
        """Yields this rank's micro-batches from `start_step` on, without end."""
        solver = self.cfg.solver
        if solver.batch_size is None:
            raise ValueError("the configuration is not scaled to a batch size")
        batches = self._images.training_batches(
            Steps(start_step, solver.batch_size, solver.accumulate), self.device
        )
        for number, batch in enumerate(batches):
            if self._mixing is None:
                yield batch
            else:
                place = start_step * solver.accumulate + number
                # On the device: four times less to copy, and the host has other things to do.
                yield self._mixing(batch.to(self.device), place, distributed.rank())

    def draw_samples(self, batch: Batch | ImageBatch, count: int) -> list[Image.Image]:
        """Returns training images as the network sees them, with their classes or shares of two."""
        return draw_labels(batch, self.class_names, count) if isinstance(batch, ImageBatch) else []

    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        """Evaluates the model on one crop per image; every rank must call it."""
        return evaluate_classifier(
            [self.model],
            self._images.test_batches(self.cfg.evaluation.batch_size),
            self._evaluator,
            self.device,
            amp=precision.for_inference(self.cfg.solver.amp, self.device),
            should_stop=should_stop,
        )

    def evaluated_on(self) -> str:
        """Returns where the validation images are."""
        return validation_images(self.cfg.data)

    def identity(self) -> dict[str, Any]:
        """Returns JSON values that identify the dataset to a resumed run."""
        identity = {"class_names": self.class_names, "dataset": self._images.fingerprint()}
        if self.cfg.model.mean_image is None:
            return identity
        mean = self.model.pixel_mean.cpu().numpy().tobytes()
        return identity | {"mean_image": hashlib.sha256(mean).hexdigest()}

    def card(self, result: EvaluationResult | None) -> dict[str, str]:
        """Returns the metadata for exported weights, from which the classifier can be rebuilt."""
        return self._weights_card(result).to_metadata() | {
            "config": self.cfg.model_dump_json(),
            "class_names": json.dumps(self.class_names),
        }

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the network's weights and, if there is one, the mean image in RGB."""
        tensors = dict(self.model.network.state_dict())
        mean = self.model.pixel_mean
        if mean[0].numel() == 1:
            return tensors
        return tensors | {MEAN_IMAGE: mean if self.model.channel_order == "RGB" else mean.flip(0)}

    def export(self, folder: Path, result: EvaluationResult | None) -> None:
        """Writes backbone.safetensors, with a card for detectors."""
        network, card = self.model.network, self._weights_card(result)
        save_weights(backbone_weights(network), folder / BACKBONE, card)
        logger.info("%s: the backbone for detectors (use model.weights=...)", folder / BACKBONE)

    def skipped(self) -> dict[str, list[str]]:
        """Returns, by split, a line for each image left out; every rank must call it."""
        shares = distributed.all_gather_object(self._images.skipped())
        return {
            split: sorted({line for share in shares for line in share[split]})
            for split in shares[0]
        }

    def _weights_card(self, result: EvaluationResult | None) -> WeightsCard:
        top1_error = None if result is None else result.flat().get(self.score)
        return classifier_card(self.model, self.cfg, top1_error)


def _fill(cfg: ClassificationConfig) -> Color | None:
    """Returns the padding's colour, which normalises to zero; None for the images' own mean."""
    if cfg.model.mean_image == "auto":
        return None
    pixels = cfg.model.pixels.settled()
    mean = pixels.mean if pixels.channel_order == "RGB" else pixels.mean[::-1]
    red, green, blue = (round(value) for value in mean)
    return red, green, blue


def _mean_image(cfg: ClassificationConfig, images: LabelledImages) -> Tensor | None:
    source = cfg.model.mean_image
    if source is None:
        return None
    if source == "auto":
        return images.mean_image()
    return read_mean_image(Path(source), cfg.data.size)


def _mixing(cfg: ClassificationConfig, num_classes: int) -> Mixing | None:
    data = cfg.data
    if not data.mixup and not data.cutmix:
        return None
    return Mixing(
        data.mixup,
        data.cutmix,
        num_classes,
        label_smoothing=cfg.model.label_smoothing,
        seed=cfg.seed,
    )
