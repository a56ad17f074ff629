"""Exports the backbone of a trained classifier, for detectors to start from."""

from __future__ import annotations

from torch import Tensor

from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.weights.card import Recipe, WeightsCard
from resnet_backbone.weights.presets import CLASSIC, LONG, STRIKES_BACK

HEAD = ("fc.", "norm.")  # prefixes of the classifier's parameters outside of the backbone


def backbone_weights(network: Classifier) -> dict[str, Tensor]:
    """Returns the weights without the classifier's head, under the backbone's names."""
    return {
        name: tensor for name, tensor in network.state_dict().items() if not name.startswith(HEAD)
    }


def classifier_card(
    model: ImageClassifier, cfg: ClassificationConfig, top1_error: float | None
) -> WeightsCard:
    """Returns the card of a classifier's weights.

    A mean image is reduced to its mean colour, since detectors take images of all sizes.

    Args:
        model: The classifier.
        cfg: The configuration of its run.
        top1_error: Error on the validation images, as a fraction; None if unknown.
    """
    options = model.network.options
    mean = model.pixel_mean.mean(dim=(1, 2)).tolist()
    std = (1.0 / model.pixel_scale).flatten().tolist()
    return WeightsCard(
        arch=cfg.model.name,
        layout="ours",
        stride_in_1x1=options.stride_in_1x1,
        channel_order=model.channel_order,
        mean=tuple(round(value, 4) for value in mean),
        std=tuple(round(value, 4) for value in std),
        norm_eps=options.norm_eps,
        interpolation=cfg.data.interpolation,
        source=f"resnet_backbone, {cfg.name}",
        top1=None if top1_error is None else round(100.0 * (1.0 - top1_error), 3),
        recipe=_detector_recipe(cfg),
    )


def _detector_recipe(cfg: ClassificationConfig) -> Recipe:
    """Returns the published detector recipe for weights from this kind of pretraining."""
    if cfg.solver.optimizer == "lamb":
        return STRIKES_BACK
    mixed = cfg.data.mixup > 0 or cfg.data.cutmix > 0
    return LONG if mixed else CLASSIC
