import pytest
import torch

from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.labelled.splits import hold_out
from resnet_backbone.errors import DataError


def images(count: int = 20) -> InMemoryImages:
    pixels = torch.randint(0, 256, (count, 3, 6, 7), dtype=torch.uint8)
    names = [f"image {number}" for number in range(count)]
    return InMemoryImages(pixels, torch.arange(count) % 4, names, ("a", "b", "c", "d"))


def test_held_out_images_are_drawn_by_the_seed_and_disjoint():
    split = images()
    train, val = hold_out(split, 5, seed=1)
    assert len(train) == 15 and len(val) == 5
    assert sorted([*train.names, *val.names]) == sorted(split.names)
    assert hold_out(split, 5, seed=1)[1].names == val.names
    assert hold_out(split, 5, seed=2)[1].names != val.names
    with pytest.raises(DataError, match="hold_out is 20, but there are only 20"):
        hold_out(split, 20, seed=1)
