"""One name for the predictors of both tasks: the weight file says which it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.config.schema import Config
from resnet_backbone.data.loading.any_image import ImageLike, ImageList
from resnet_backbone.errors import ConfigError
from resnet_backbone.report.draw import ColorBy
from resnet_backbone.tasks.classification.classification import Classification
from resnet_backbone.tasks.classification.predictions import ClassPredictions
from resnet_backbone.tasks.classification.predictor import ClassificationPredictor
from resnet_backbone.tasks.detection.prediction import Prediction
from resnet_backbone.tasks.detection.predictions import CocoPredictions
from resnet_backbone.tasks.detection.predictor import DetectionPredictor
from resnet_backbone.tasks.stored_config import is_classifier
from resnet_backbone.utils.text import count_of, listing

TOP = 5  # classes that a classifier tells


class Predictor:
    """A trained detector or classifier for images, which are preprocessed as in evaluation.

        predictor = rb.Predictor("output/mine/model.safetensors")
        found = predictor("street.jpg")
        for name, score, box, *_ in found[found.scores > 0.9]:
            print(name, score, box)

        rb.Predictor("classifier.safetensors")("cat.jpg")    # 0.93 tabby, 0.04 tiger cat

    Args:
        weights: A weight file written by training, or the folder of a finished run.
        cfg: The configuration; None takes the one in the weight file.
        device: "auto", "cpu" or "cuda".
        score_threshold: For detectors: detections with a score not above it are dropped; None takes
            the configuration's threshold.
        top: For classifiers: how many of the most probable classes are told; None means 5.

    Attributes:
        own: The `DetectionPredictor` or `ClassificationPredictor` that does the work.

    Raises:
        WeightsError: the weights cannot be read, or contradict `cfg`.
        ConfigError: the device is not available, or an argument is one for the other task.
    """

    def __init__(
        self,
        weights: str | Path,
        cfg: RunConfig | None = None,
        *,
        device: str = "auto",
        score_threshold: float | None = None,
        top: int | None = None,
    ) -> None:
        self.own: DetectionPredictor | ClassificationPredictor
        if isinstance(cfg, ClassificationConfig) or (cfg is None and is_classifier(weights)):
            _refuse("score_threshold", score_threshold, "detectors")
            top = TOP if top is None else top
            self.own = ClassificationPredictor(weights, cfg, device=device, top=top)
        elif cfg is None or isinstance(cfg, Config):
            _refuse("top", top, "classifiers")
            self.own = DetectionPredictor(
                weights, cfg, device=device, score_threshold=score_threshold
            )
        else:
            raise ConfigError(f"a {type(cfg).__name__} is neither a detector's nor a classifier's")

    @property
    def cfg(self) -> Config | ClassificationConfig:
        """The configuration of the model."""
        return self.own.cfg

    @property
    def model(self) -> nn.Module:
        """The model, in evaluation mode."""
        return self.own.model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.own.class_names

    def __call__(self, images: ImageLike | ImageList, *, image_id: int = 0) -> Any:  # noqa: ANN401
        """Returns a `Prediction` or a `Classification`; for a list of images, a list of them.

        Args:
            images: A file, a PIL image, or RGB pixels as an array uint8[H, W, 3] or a tensor
                uint8[3, H, W]; or a list of these, which is predicted in batches.
            image_id: The id to put into the result; for a list the first of consecutive ids.

        Raises:
            DataError: an image cannot be read, or is none of these.
        """
        found: Prediction | Classification | list[Prediction] | list[Classification]
        found = self.own(images, image_id=image_id)
        return found

    def form(self, color_by: ColorBy | None = None) -> CocoPredictions | ClassPredictions:
        """Returns how predictions for files are drawn and listed, see `predict_files`.

        Args:
            color_by: For detectors: "class", or "instance" to tell neighbours of one class apart in
                the pictures; None means "class".

        Raises:
            ConfigError: `color_by` is given for a classifier.
        """
        if isinstance(self.own, DetectionPredictor):
            return CocoPredictions(
                self.class_names, self.own.category_ids, "class" if color_by is None else color_by
            )
        _refuse("color_by", color_by, "detectors")
        return ClassPredictions(self.class_names)

    def __repr__(self) -> str:
        """Returns for example "Predictor of a detector: 3 classes, square, disc, bar"."""
        kind = "detector" if isinstance(self.own, DetectionPredictor) else "classifier"
        count = count_of(len(self.class_names), "class", "classes")
        return f"Predictor of a {kind}: {count}, {listing(self.class_names)}"


def _refuse(name: str, value: object, owners: str) -> None:
    if value is not None:
        other = "classifier" if owners == "detectors" else "detector"
        raise ConfigError(f"{name} is for {owners}, but these are the weights of a {other}")
