"""Detects objects in images, given only a weight file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.batch import collate_samples
from resnet_backbone.data.coco.transforms import resize_image, target_size
from resnet_backbone.data.loading.any_image import (
    ImageLike,
    ImageList,
    in_batches,
    read_pixels,
)
from resnet_backbone.data.loading.images import read_image
from resnet_backbone.engine.trained_reading import read_as_trained
from resnet_backbone.structures import Sample
from resnet_backbone.tasks.detection.prediction import Prediction
from resnet_backbone.tasks.detection.trained import READING, load_trained, stored_config
from resnet_backbone.utils import precision
from resnet_backbone.utils.device import pick_device

MAX_BATCH = 8  # images of a list in one batch


class DetectionPredictor:
    """A trained detector for images, which are preprocessed as in evaluation.

    Args:
        weights: A weight file written by training, or the folder of a finished run.
        cfg: The configuration; None takes the one in the weight file.
        device: "auto", "cpu" or "cuda".
        score_threshold: Detections with a score not above it are dropped; None takes the
            configuration's threshold.

    Attributes:
        class_names: The name of each class.
        category_ids: The COCO category id of each class.

    Raises:
        WeightsError: the weights cannot be read, or contradict `cfg`.
        ConfigError: the device is not available.
    """

    def __init__(
        self,
        weights: str | Path,
        cfg: Config | None = None,
        *,
        device: str = "auto",
        score_threshold: float | None = None,
    ) -> None:
        self.device = pick_device(device)
        if cfg is not None and (stored := stored_config(weights)) is not None:
            cfg = read_as_trained(cfg, stored, READING)
        trained = load_trained(weights, cfg, device=self.device)
        self.cfg = trained.cfg
        self.model = trained.model
        self.class_names = trained.class_names
        self.category_ids = trained.category_ids
        self._amp = precision.for_inference(self.cfg.solver.amp, self.device)
        if score_threshold is not None:
            heads = self.model.roi_heads
            heads.settings = replace(heads.settings, score_threshold=score_threshold)

    @overload
    def __call__(self, images: ImageLike, *, image_id: int = 0) -> Prediction: ...

    @overload
    def __call__(self, images: ImageList, *, image_id: int = 0) -> list[Prediction]: ...

    def __call__(
        self, images: ImageLike | ImageList, *, image_id: int = 0
    ) -> Prediction | list[Prediction]:
        """Returns what is detected in an image, or in each of several, on the CPU.

        Images of a list that have the same size are detected together.

        Args:
            images: A file, a PIL image, or RGB pixels as an array uint8[H, W, 3] or a tensor
                uint8[3, H, W]; or a list of these.
            image_id: The id to put into the result; for a list the first of consecutive ids.

        Raises:
            DataError: an image cannot be read, or is none of these.
        """
        if not isinstance(images, list | tuple):
            return self._detect([self.read(images)], [image_id])[0]
        pixels = [self.read(image) for image in images]

        def detect(chosen: list[int]) -> list[Prediction]:
            return self._detect([pixels[i] for i in chosen], [image_id + i for i in chosen])

        return in_batches(pixels, detect, MAX_BATCH)

    def read(self, image: ImageLike) -> Tensor:
        """Returns an image as uint8[3, H, W], RGB, rotated upright; arguments as for `__call__`.

        Raises:
            DataError: the image cannot be read, or is none of these.
        """
        data = self.cfg.data
        exif, limit, depth = data.exif, data.max_pixels, data.bit_depth
        if isinstance(image, str | Path):
            return read_image(Path(image), exif=exif, max_pixels=limit, bit_depth=depth)
        return read_pixels(image, exif=exif, max_pixels=limit, bit_depth=depth)

    def _detect(self, images: Sequence[Tensor], image_ids: Sequence[int]) -> list[Prediction]:
        """Returns the predictions for images of one size."""
        samples = [self._sample(*pair) for pair in zip(images, image_ids, strict=True)]
        batch = collate_samples(samples, size_divisor=self.model.size_divisor)
        with torch.inference_mode(), precision.autocast(self._amp, self.device):
            found = self.model.detect(replace(batch, targets=None).to(self.device))
        return [
            Prediction(
                **vars(detections.cpu()),
                image=image,
                class_names=tuple(self.class_names),
                category_ids=tuple(self.category_ids),
            )
            for image, detections in zip(images, found, strict=True)
        ]

    def _sample(self, image: Tensor, image_id: int) -> Sample:
        """Returns an image resized as in evaluation."""
        data = self.cfg.data
        height, width = image.shape[1:]
        size = target_size(height, width, data.test_min_size, data.test_max_size)
        return Sample(
            image=resize_image(image, size),
            image_id=image_id,
            original_size=(height, width),
            key=0,
            boxes=torch.zeros(0, 4),
            classes=torch.zeros(0, dtype=torch.int64),
        )
