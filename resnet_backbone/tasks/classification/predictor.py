"""Classifies images, given only a weight file."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from resnet_backbone.classification.testing import ensemble
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.data.loading.any_image import ImageLike, ImageList, in_batches, read_pixels
from resnet_backbone.data.loading.headers import ImageHeader, header_of, read_image_header
from resnet_backbone.data.loading.jpeg import EncodedImage
from resnet_backbone.engine.trained_reading import read_as_trained
from resnet_backbone.errors import ConfigError, DataError, WeightsError
from resnet_backbone.tasks.classification.classification import Classification
from resnet_backbone.tasks.classification.trained import (
    load_trained_classifier,
    stored_classifier_config,
)
from resnet_backbone.tasks.classification.views import READING, test_crop, testing_of
from resnet_backbone.utils import precision
from resnet_backbone.utils.device import pick_device

MAX_VIEWS = 64  # of images, in one batch

logger = logging.getLogger(__name__)


class ClassificationPredictor:
    """A trained classifier for images, which are preprocessed as in evaluation.

    As there, the EXIF orientation of images is ignored, which the log says once, and
    `evaluation.testing` says how many views of an image are averaged.

    Args:
        weights: A weight file written by training, or the folder of a finished run.
        cfg: The configuration; None takes the one in the weight file.
        device: "auto", "cpu" or "cuda".
        top: How many of the most probable classes are told, if there are so many.

    Attributes:
        class_names: The name of each class.

    Raises:
        WeightsError: the weights cannot be read, or there is no configuration.
        ConfigError: the configuration contradicts the weights, or the device is not available.
    """

    def __init__(
        self,
        weights: str | Path,
        cfg: ClassificationConfig | None = None,
        *,
        device: str = "auto",
        top: int = 5,
    ) -> None:
        if top < 1:
            raise ConfigError(f"top: got {top}, expected at least 1")
        self.device = pick_device(device)
        stored = stored_classifier_config(weights)
        if cfg is None and stored is None:
            raise WeightsError(
                f"{weights}: contains no configuration; give the one of its training (--config)"
            )
        if cfg is not None and stored is not None:
            cfg = read_as_trained(cfg, stored, READING)
        self.cfg: ClassificationConfig = cfg or stored  # type: ignore[assignment]
        trained = load_trained_classifier(weights, self.cfg, device=self.device)
        self.model = trained.model
        count = self.model.network.fc.out_features
        self.class_names = trained.class_names or tuple(f"class {i}" for i in range(count))
        self.top = min(top, count)
        self._amp = precision.for_inference(self.cfg.solver.amp, self.device)
        self._said = False

    @overload
    def __call__(self, images: ImageLike, *, image_id: int = 0) -> Classification: ...

    @overload
    def __call__(self, images: ImageList, *, image_id: int = 0) -> list[Classification]: ...

    def __call__(
        self, images: ImageLike | ImageList, *, image_id: int = 0
    ) -> Classification | list[Classification]:
        """Returns the most probable classes of an image, or of each of several, on the CPU.

        Args:
            images: A file, a PIL image, or RGB pixels as an array uint8[H, W, 3] or a tensor
                uint8[3, H, W]; or a list of these.
            image_id: The id to put into the result; for a list the first of consecutive ids.

        Raises:
            DataError: an image cannot be read, or is none of these.
        """
        several = list(images) if isinstance(images, list | tuple) else [images]
        pixels = [self.read(image) for image in several]
        votes = self._probabilities(pixels)
        found = [
            Classification(
                image_id=image_id + place,
                image=image,
                probabilities=vote,
                labels=vote.argsort(descending=True, stable=True)[: self.top],
                class_names=tuple(self.class_names),
            )
            for place, (image, vote) in enumerate(zip(pixels, votes, strict=True))
        ]
        return found if isinstance(images, list | tuple) else found[0]

    def read(self, image: ImageLike) -> Tensor:
        """Returns a whole image as uint8[3, H, W], RGB; arguments as for `__call__`.

        Raises:
            DataError: the image cannot be read, or is none of these.
        """
        limit, depth = self.cfg.data.max_pixels, self.cfg.data.bit_depth
        if not isinstance(image, str | Path):
            if isinstance(image, Image.Image):
                self._say_if_turned(header_of(image), getattr(image, "filename", "an image"))
            return read_pixels(image, exif="ignore", max_pixels=limit, bit_depth=depth)
        try:
            content = Path(image).expanduser().read_bytes()
        except FileNotFoundError:
            raise DataError(f"{image}: no such image") from None
        except OSError as error:
            raise DataError(f"{image}: cannot be read: {error.strerror}") from error
        name = str(image)
        pixels = EncodedImage(content, name, max_pixels=limit, bit_depth=depth).pixels()
        with suppress(DataError):  # about the end of a file whose pixels are complete
            header = read_image_header(io.BytesIO(content), name, max_pixels=limit)
            self._say_if_turned(header, name)
        return pixels

    def _say_if_turned(self, header: ImageHeader, name: str) -> None:
        """Warns of the first image that people see turned, and the network does not."""
        if header.turns and not self._said:
            self._said = True
            logger.warning(
                "%s: its EXIF orientation is ignored, as in training and evaluation; turn the "
                "pixels of such images first (PIL.ImageOps.exif_transpose)",
                name,
            )

    def _probabilities(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Returns float32[K] for each image, on the CPU."""
        testing = testing_of(self.cfg)
        with torch.inference_mode(), precision.autocast(self._amp, self.device):
            if testing is not None:
                whole = [[image.to(self.device)] for image in images]
                return [ensemble([self.model.scores], one, testing)[0].cpu() for one in whole]
            views = [test_crop(self.cfg, image) for image in images]

            def classify(chosen: list[int]) -> list[Tensor]:
                batch = torch.stack([views[index] for index in chosen]).to(self.device)
                return list(self.model.scores(batch).float().softmax(dim=1).cpu())

            return in_batches(views, classify, MAX_VIEWS)
