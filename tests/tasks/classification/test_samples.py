import numpy as np
import torch

from resnet_backbone.structures import ImageBatch
from resnet_backbone.tasks.classification.samples import SIDE, _label, draw_labels

NAMES = ("cat", "dog", "bird")


def batch(**options):
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).remainder(256).byte()
    return ImageBatch(images, torch.tensor([0, 2]), torch.tensor([1, 2]), ["a", "b"], **options)


def test_images_are_enlarged_below_their_class():
    pictures = draw_labels(batch(), NAMES, 9)
    assert len(pictures) == 2 and len(draw_labels(batch(), NAMES, 1)) == 1
    pixels = np.asarray(pictures[0])[-SIDE:]
    expected = batch().images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels[:: SIDE // 8, :: SIDE // 8], expected)
    assert _label(batch(), 1, NAMES) == "bird"


def test_mixed_images_have_both_classes_whatever_the_smoothing():
    mixed = torch.tensor([[0.63, 0.37, 0.0], [0.0, 0.0, 1.0]])
    for smoothing in (0.0, 0.1):
        targets = mixed * (1 - smoothing) + smoothing / 3
        both = batch(targets=targets)
        assert [_label(both, index, NAMES) for index in range(2)] == [
            "cat 0.63, dog 0.37",
            "bird 1.00",
        ]
    floats = ImageBatch(
        batch().images.float() + 0.4, batch().labels, batch().keys, ["a", "b"], targets=mixed
    )
    assert np.array_equal(
        np.asarray(draw_labels(floats, NAMES, 1)[0])[-SIDE:],
        np.asarray(draw_labels(batch(), NAMES, 1)[0])[-SIDE:],
    )
