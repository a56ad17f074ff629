from dataclasses import replace

import numpy as np
import pytest
from tiny_rcnn import CLASS_NAMES, SIDE, tiny_batch

from resnet_backbone.report.colors import class_color
from resnet_backbone.tasks.detection.samples import draw_targets


@pytest.mark.parametrize("count", [1, 2, 9])
def test_images_are_drawn_with_the_boxes_of_their_targets(count):
    batch = tiny_batch([1, 2])
    pictures = draw_targets(batch, CLASS_NAMES, count)
    assert len(pictures) == min(count, 2)
    pixels = np.asarray(pictures[0])
    factor = pixels.shape[0] // SIDE
    assert pixels.shape == (SIDE * factor, SIDE * factor, 3)
    # The frame of the box from 8 to 40 pixels, below its label.
    for x in (8, 40):
        assert tuple(pixels[30 * factor, x * factor]) == class_color(0)


def test_bitmaps_are_as_large_as_their_image_and_not_as_the_batch():
    batch = tiny_batch([1, 2])
    bitmaps = [np.zeros((SIDE, SIDE - 11), dtype=bool), np.zeros((SIDE - 7, SIDE), dtype=bool)]
    outlined = draw_targets(batch, CLASS_NAMES, 2)
    for bitmap in bitmaps:
        bitmap[8:40, 8:40] = True
    targets = replace(batch.targets, masks=[[bitmap] for bitmap in bitmaps])
    # The square covers a quarter of the picture; outline and bitmap may differ at its edges.
    for drawn, same in zip(
        draw_targets(replace(batch, targets=targets), CLASS_NAMES, 2), outlined, strict=True
    ):
        different = (np.asarray(drawn) != np.asarray(same)).any(axis=2)
        assert different.mean() < 0.05
