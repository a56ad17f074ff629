import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from resnet_backbone.data.labelled.auto_augment import RandomErase, make_auto_augment
from resnet_backbone.errors import ConfigError

FILL = (124, 116, 104)
IMAGE = torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8)
RAND = "rand-m7-mstd0.5-inc1"


def augment(notation):
    if notation != "trivial":
        pytest.importorskip("timm", reason="RandAugment is timm's")
    return make_auto_augment(notation, size=48, fill=FILL)


@pytest.mark.parametrize("notation", ["trivial", RAND])
def test_draws_come_from_the_generator_alone(notation):
    transform = augment(notation)
    first = [transform(IMAGE, np.random.default_rng(seed)) for seed in range(12)]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    again = [transform(IMAGE, np.random.default_rng(seed)) for seed in range(12)]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert len({image.numpy().tobytes() for image in first}) >= 8
    assert {(image.dtype, image.shape) for image in first} == {(torch.uint8, IMAGE.shape)}


@pytest.mark.parametrize("notation", ["trivial", RAND])
def test_global_generators_are_left_alone(notation):
    transform = augment(notation)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    transform(IMAGE, np.random.default_rng(0))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_trivial_augment_is_torchvisions():
    theirs = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR, fill=list(FILL))
    for seed in range(30):  # so that some of them turn or shear
        found = augment("trivial")(IMAGE, np.random.default_rng(seed))
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.default_rng(seed).integers(2**32)))
            assert torch.equal(found, theirs(IMAGE))


def test_rand_augment_is_timms():
    timm = pytest.importorskip("timm.data.auto_augment", reason="RandAugment is timm's")
    from PIL import Image

    found = augment(RAND)(IMAGE, np.random.default_rng(5))
    seed = int(np.random.default_rng(5).integers(2**32))
    random.seed(seed), np.random.seed(seed)
    theirs = timm.rand_augment_transform(RAND, {"translate_const": 21, "img_mean": FILL})
    expected = theirs(Image.fromarray(IMAGE.permute(1, 2, 0).numpy()))
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("notation", ["rnad-m7", "rand-x", "rand-m"])
def test_other_notations_are_refused(notation):
    pytest.importorskip("timm", reason="RandAugment is timm's")
    with pytest.raises(ConfigError, match=f"data.auto_augment: got '{notation}', expected"):
        make_auto_augment(notation, size=224, fill=FILL)


def test_a_rectangle_is_erased_with_the_given_probability():
    image = torch.zeros(3, 50, 60, dtype=torch.uint8)
    erase, rng = RandomErase(0.25, (1, 2, 3)), np.random.default_rng(0)
    areas = []
    for _ in range(2000):
        found = erase(image, rng)
        changed = found[0] == 1
        if changed.any():
            rows, columns = changed.any(1).sum(), changed.any(0).sum()
            assert changed.sum() == rows * columns  # a rectangle
            assert torch.equal(found[:, changed].unique(dim=1), torch.tensor([[1], [2], [3]]))
            areas.append(int(rows * columns) / 3000)
    # Five standard deviations of 2,000 draws; areas within what is drawn, up to rounding.
    assert abs(len(areas) - 500) < 5 * 19.4
    assert 0.015 < min(areas) < 0.05 and 0.28 < max(areas) < 0.35
    assert not image.any()
