import hashlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resnet_backbone.data.labelled.in_memory import (
    InMemoryImages,
    InMemoryTest,
    InMemoryTraining,
)

CPU = torch.device("cpu")


def images(count: int = 20, side: int = 6) -> InMemoryImages:
    pixels = torch.randint(0, 256, (count, 3, side, side + 1), dtype=torch.uint8)
    names = [f"image {number}" for number in range(count)]
    return InMemoryImages(pixels, torch.arange(count) % 4, names, ("a", "b", "c", "d"))


def training(split: InMemoryImages, **changes) -> InMemoryTraining:
    settings = dict(batch_size=8, seed=3, padding=2, flip=0.5, fill=torch.tensor([7, 8, 9]))
    return InMemoryTraining(split, device=CPU, **(settings | changes))


def all_crops(image: torch.Tensor, padding: int, fill: list[int]) -> dict[bytes, tuple]:
    """Every crop and its mirror image, made one by one by other means: numpy's pad."""
    padded = np.stack(
        [
            np.pad(channel, padding, constant_values=c)
            for channel, c in zip(image.numpy(), fill, strict=True)
        ]
    )
    height, width = image.shape[1:]
    crops = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
            crops[crop.tobytes()] = (top, left, False)
            crops[np.ascontiguousarray(crop[:, :, ::-1]).tobytes()] = (top, left, True)
    return crops


def test_each_image_of_a_batch_is_one_of_its_crops():
    split = images()
    batch = training(split).batch(0)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    found = set()
    for image, label, name in zip(batch.images, batch.labels, batch.image_ids, strict=True):
        number = split.names.index(name)
        assert label == split.labels[number]
        crops = all_crops(split.images[number], 2, [7, 8, 9])
        found.add(crops[image.contiguous().numpy().tobytes()])
    assert len(found) > 4  # places and flips differ between the images of a batch


def test_crops_and_flips_are_spread_evenly():
    """5 x 5 places and 2 directions, 4,000 draws: 80 each, within 5 standard deviations."""
    split = images(1, side=4)
    crops = all_crops(split.images[0], 2, [7, 8, 9])
    batches = training(split, batch_size=40)
    counts: dict = {}
    for step in range(100):
        for image in batches.batch(step).images:
            place = crops[image.contiguous().numpy().tobytes()]
            counts[place] = counts.get(place, 0) + 1
    assert len(counts) == 50
    assert all(abs(count - 80) < 5 * 9 for count in counts.values())


def test_without_padding_and_flip_images_come_as_they_are():
    split = images()
    batch = training(split, padding=0, flip=0.0).batch(1)
    numbers = [split.names.index(name) for name in batch.image_ids]
    assert torch.equal(batch.images, split.images[numbers])


def test_an_epoch_shows_every_image_once_and_steps_run_on_over_its_end():
    """20 images in batches of 8: the third batch ends one epoch and begins the next."""
    batches = training(images())
    seen = [name for step in range(5) for name in batches.batch(step).image_ids]
    first, second = seen[:20], seen[20:]
    assert sorted(first) == sorted(second) == sorted(images().names)
    assert first != second
    assert len(torch.cat([batches.batch(step).keys for step in range(5)]).unique()) == 40


def test_a_step_is_a_function_of_seed_and_number():
    split = images()
    straight = training(split)
    for step in range(4):
        straight.batch(step)
    late, early = training(split).batch(4), straight.batch(4)
    assert torch.equal(late.images, early.images)
    assert late.image_ids == early.image_ids
    assert training(split, seed=4).batch(4).image_ids != late.image_ids


@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (1, 4), (2, 2)])
def test_ranks_and_passes_share_the_batch_of_one(ranks, accumulate):
    split = images()
    whole = training(split).batch(2)
    parts = []
    for rank in range(ranks):
        shares = training(split).shares(
            start_step=2, accumulate=accumulate, rank=rank, world_size=ranks
        )
        parts += [next(shares) for _ in range(accumulate)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    assert [name for part in parts for name in part.image_ids] == list(whole.image_ids)


def test_test_batches_hold_every_image_once_in_order():
    split = images()
    seen = []
    for rank in range(3):
        batches = InMemoryTest(split, batch_size=3, rank=rank, world_size=3)
        shares = list(batches)
        assert len(batches) == len(shares)
        for batch in shares:
            numbers = [split.names.index(name) for name in batch.image_ids]
            assert torch.equal(batch.images, split.images[numbers])
            assert torch.equal(batch.labels, split.labels[numbers])
            seen += numbers
    assert sorted(seen) == list(range(20))


def test_mean_image_is_numpys():
    split = images(50)
    expected = split.images.numpy().astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(split.mean_image(), expected, rtol=1e-6)


def test_padding_is_near_zero_once_the_mean_is_subtracted():
    """The paper pads what is zero already; uint8 pixels leave at most half a grey level."""
    split = images()
    fill = split.mean_image().mean(dim=(1, 2))
    batch = training(split, padding=20, fill=fill.round()).batch(0)
    corner = batch.images[..., 0, 0].float() - fill
    outside = batch.images[..., 0, 0] == fill.round().to(torch.uint8)
    assert outside.all(dim=1).any()
    assert corner[outside.all(dim=1)].abs().max() <= 0.5


def test_digest_notices_another_pixel_and_another_label():
    split = images()
    assert split.digest() == split.digest()
    assert len(split.digest()) == len(hashlib.sha256().hexdigest())
    changed = split.images.clone()
    changed[3, 1, 2, 2] ^= 1
    assert InMemoryImages(changed, split.labels, split.names, ("a",)).digest() != split.digest()
    labels = F.pad(split.labels[1:], (0, 1), value=3 - int(split.labels[-1]) + 4)
    assert InMemoryImages(split.images, labels, split.names, ("a",)).digest() != split.digest()
