import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resnet_backbone.errors import ConfigError
from resnet_backbone.structures import ImageBatch
from resnet_backbone.tasks.classification.mixing import Mixing

pytest.importorskip("timm", reason="mixing is timm's")
CLASSES = 4


def batch(count: int = 6, side: int = 8) -> ImageBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % CLASSES
    return ImageBatch(images, labels, torch.arange(count), [str(n) for n in range(count)])


def mixing(mixup=1.0, cutmix=0.0, smoothing=0.0, seed=0) -> Mixing:
    return Mixing(mixup, cutmix, CLASSES, label_smoothing=smoothing, seed=seed)


def test_mixup_is_the_weighted_mean_of_images_and_of_labels():
    data = batch()
    mixed = mixing()(data, 3)
    one_hot = F.one_hot(data.labels, CLASSES).float()
    share = mixed.targets[0, 0]  # labels 0 and 1 meet in the first row
    images = data.images.float()
    # timm multiplies and adds in float32: half a unit of the last of 24 bits of 255.
    torch.testing.assert_close(
        mixed.images, share * images + (1 - share) * images.flip(0), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(mixed.targets, share * one_hot + (1 - share) * one_hot.flip(0))
    assert torch.equal(mixed.labels, data.labels) and 0 < share < 1


def test_cutmix_takes_as_many_pixels_as_it_takes_of_the_label():
    data = batch(side=32)
    mixed = mixing(mixup=0.0, cutmix=1.0)(data, 1)
    kept = (mixed.images == data.images).all(dim=1).float().mean(dim=(1, 2))
    pasted = (mixed.images == data.images.flip(0)).all(dim=1)
    assert ((mixed.images == data.images).all(dim=1) | pasted).all()
    # Random pixels hardly ever coincide: 256^-3 each.
    torch.testing.assert_close(mixed.targets[0, 0], kept[0], atol=1e-3, rtol=0)


def test_it_is_timms_with_numpys_generator_set():
    from timm.data import Mixup

    data, state = batch(side=32), np.random.get_state()
    np.random.seed(np.random.SeedSequence((7, 5, 1)).generate_state(4))
    theirs = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)
    images, targets = theirs(data.images.float(), data.labels)
    np.random.set_state(state)
    mixed = mixing(mixup=0.2, cutmix=1.0, smoothing=0.1, seed=7)(data, 5, 1)
    assert torch.equal(mixed.images, images) and torch.equal(mixed.targets, targets)


def test_targets_are_smoothed_and_sum_to_one():
    mixed = mixing(smoothing=0.2)(batch(), 0)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(6))
    torch.testing.assert_close(mixed.targets.min(), torch.tensor(0.05))


def test_it_is_a_function_of_seed_number_and_rank():
    same = mixing()(batch(), 5)
    assert torch.equal(same.images, mixing()(batch(), 5).images)
    for other in (mixing()(batch(), 6), mixing()(batch(), 5, 1), mixing(seed=1)(batch(), 5)):
        assert not torch.equal(same.images, other.images)


def test_numpys_generator_and_the_batch_are_left_alone():
    data, before = batch(), np.random.get_state()[1].copy()
    floats = ImageBatch(data.images.float(), data.labels, data.keys, data.image_ids)
    mixing()(data, 0), mixing()(floats, 0)
    assert np.array_equal(before, np.random.get_state()[1])
    assert torch.equal(data.images, batch().images)
    assert torch.equal(floats.images, batch().images.float())


def test_both_kinds_are_drawn_where_both_are_asked_for():
    both = mixing(mixup=1.0, cutmix=1.0)
    data = batch(side=32)
    kinds = set()
    for number in range(20):
        images = both(data, number).images
        kinds.add(bool((images == images.round()).all()))  # CutMix leaves whole numbers
    assert kinds == {True, False}


def test_an_odd_number_of_images_is_refused():
    with pytest.raises(ConfigError, match="need an even number of images per .*, got 5"):
        mixing()(batch(5), 0)
