"""What a classifier is shown of an image, in evaluation and in prediction."""

from __future__ import annotations

from torch import Tensor

from resnet_backbone.classification.testing import Testing, make_testing
from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.data.labelled.crops import CentreCrop

# Keys of `data` that belong to the weights.
READING = ("test_resize", "test_size", "interpolation", "bit_depth")
CIFAR_SIDE = 32  # pixels


def testing_of(cfg: ClassificationConfig) -> Testing | None:
    """Returns the test method; None for a single crop, see `test_crop`."""
    if cfg.evaluation.testing == "single":
        return None
    return make_testing(
        cfg.evaluation.testing,
        resize=cfg.data.test_resize,
        size=cfg.data.test_size,
        scales=cfg.evaluation.scales,
        interpolation=cfg.data.interpolation,
    )


def test_crop(cfg: ClassificationConfig, image: Tensor) -> Tensor:
    """Returns the part uint8[3, h, w] of an image uint8[3, H, W] that a single view shows.

    It is the crop of evaluation. Evaluation takes images that are kept in memory as they are, all
    of one size; an image of another size is brought to that size, if the configuration tells it.
    """
    data = cfg.data
    if not data.in_memory:
        return CentreCrop(data.test_resize, data.test_size, data.interpolation)(image)
    if data.format == "resident":  # of any size, which need not be square
        return image
    side = data.drawn.image_size if data.format == "shapes" else CIFAR_SIDE
    return CentreCrop(side, side, data.interpolation)(image)
