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
