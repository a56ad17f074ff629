import numpy as np
import torch

from resnet_backbone.data.labelled.drawn_classes import draw_classes
from resnet_backbone.data.shapes import CATEGORIES


def test_images_and_labels_are_as_asked_for():
    drawn = draw_classes(30, "train", side=32, seed=1)
    assert drawn.images.shape == (30, 3, 32, 32) and drawn.images.dtype == torch.uint8
    assert drawn.class_names == tuple(CATEGORIES.values())
    assert set(drawn.labels.tolist()) == {0, 1, 2, 3}
    assert len(set(drawn.names)) == len(drawn) == 30


def test_drawing_repeats_and_splits_and_seeds_differ():
    first = draw_classes(6, "train", side=32, seed=1)
    assert torch.equal(first.images, draw_classes(6, "train", side=32, seed=1).images)
    for split, seed in (("val", 1), ("train", 2)):
        assert not torch.equal(first.images, draw_classes(6, split, side=32, seed=seed).images)


def test_more_images_begin_with_the_same_ones():
    few, more = draw_classes(5, "val", side=64, seed=0), draw_classes(9, "val", side=64, seed=0)
    assert torch.equal(few.images, more.images[:5])
    assert np.array_equal(few.labels, more.labels[:5])
