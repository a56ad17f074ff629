import numpy as np
import pytest
from cats_and_dogs import CAT, DOG, arrays, half_off, place

from resnet_backbone.evaluation.overlaps import image_overlaps


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_detections_come_by_score_with_their_overlaps(task):
    objects = [(CAT, place(0)), (DOG, place(2), "crowd")]
    detections = [(CAT, half_off(0), 0.2), (DOG, half_off(2), 0.9)]
    (image,) = image_overlaps(*arrays(objects, detections), task)
    assert image.classes.tolist() == [DOG, CAT] and image.scores.tolist() == [0.9, 0.2]
    assert image.object_classes.tolist() == [CAT, DOG]
    assert image.crowd.tolist() == [False, True]
    # Half of each box is in the other: a third of both, and half of the one in the crowd.
    np.testing.assert_allclose(image.iou, [[0, 1 / 2], [1 / 3, 0]])
