import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import v2

from resnet_backbone.data.labelled.crops import (
    CentreCrop,
    RandomFlip,
    RandomResizedCrop,
    Region,
    ScaleJitterCrop,
    resize_region,
)


def smooth(height: int, width: int) -> torch.Tensor:
    """An image without detail, in which a place can be read from its colours."""
    rows, columns = torch.meshgrid(
        torch.linspace(0, 255, height), torch.linspace(0, 255, width), indexing="ij"
    )
    return torch.stack([rows, columns, 255 - rows]).round().to(torch.uint8)


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(50, 70), (70, 50), (32, 32), (500, 375)])
def test_the_centre_crop_is_torchvisions(size, interpolation):
    image, mode = noise(*size), v2.InterpolationMode(interpolation)
    resized = v2.functional.resize(image, [32], interpolation=mode, antialias=True)
    expected = v2.functional.center_crop(resized, [28])
    assert torch.equal(CentreCrop(32, 28, interpolation)(image), expected)


def test_a_crop_that_leaves_the_image_is_filled_with_zeros():
    found = CentreCrop(20, 24)(noise(20, 20))
    assert torch.equal(found, v2.functional.center_crop(noise(20, 20), [24]))
    assert not found[:, :2].any() and not found[:, :, -2:].any()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_region_is_resized_as_torchvision_does(interpolation):
    image, mode = noise(60, 80), v2.InterpolationMode(interpolation)
    found = resize_region(image, Region(5, 7, 40, 50), 24, interpolation)
    expected = v2.functional.resized_crop(
        image, 5, 7, 40, 50, [24, 24], interpolation=mode, antialias=True
    )
    assert torch.equal(found, expected)


def test_regions_are_drawn_as_torchvision_draws_them():
    """Mean and deviation of area, shape and place over 4,000 draws, within 4 standard errors."""
    crop, rng, count = RandomResizedCrop(), np.random.default_rng(0), 4000
    torch.manual_seed(0)
    image = torch.zeros(3, 90, 130)

    def facts(top, left, height, width):
        return height * width, np.log(width / height), top, left

    ours = [crop.region(90, 130, rng) for _ in range(count)]
    ours = np.array([facts(r.top, r.left, r.height, r.width) for r in ours])
    draw = transforms.RandomResizedCrop.get_params
    theirs = np.array([facts(*draw(image, [0.08, 1.0], [3 / 4, 4 / 3])) for _ in range(count)])
    error = np.sqrt(ours.var(0) + theirs.var(0)) / np.sqrt(count)
    assert (abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    assert abs(ours.std(0) / theirs.std(0) - 1).max() < 0.06


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (1, 1), (2, 500)])
def test_images_of_extreme_shape_give_the_middle(height, width):
    crop, rng = RandomResizedCrop(size=8), np.random.default_rng(0)
    for _ in range(20):
        region = crop.region(height, width, rng)
        assert 0 <= region.top <= height - region.height
        assert 0 <= region.left <= width - region.width
    assert crop(noise(height, width), rng).shape == (3, 8, 8)


@pytest.mark.parametrize("shape", [(100, 150), (150, 100), (40, 300), (30, 30), (1, 1)])
def test_scale_jitter_gives_a_square_of_the_resized_image(shape):
    crop, image = ScaleJitterCrop(size=32, short_side=(36, 64)), smooth(*shape)
    for seed in range(20):
        found = crop(image, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        scale = int(rng.integers(36, 65)) / min(shape)
        sides = [max(32, int(scale * extent)) for extent in shape]
        resized = v2.functional.resize(image, sides, antialias=True).int()
        top, left = int(rng.integers(sides[0] - 31)), int(rng.integers(sides[1] - 31))
        expected = resized[:, top : top + 32, left : left + 32]
        # Moved by up to half a pixel of the original, which here is up to 255 / extent levels, and
        # at the crop's border without the neighbours that lie outside of it.
        assert (found.int() - expected).abs().max() <= 2 + 2 * 255 / min(shape)


def test_short_sides_are_drawn_from_the_whole_range():
    image, widths = smooth(64, 64), set()
    crop = ScaleJitterCrop(size=32, short_side=(32, 64))
    for seed in range(400):
        found = crop(image, np.random.default_rng(seed))[1].float()
        widths.add(round(float(found.max() - found.min()) / 8))  # how much of 255 it spans
    # From the whole image (255 levels) to half of it (127), in steps of 8 levels.
    assert max(widths) >= 31 and min(widths) <= 16 and len(widths) >= 14


def test_flips_come_with_their_probability_and_mirror():
    image, rng = noise(4, 5), np.random.default_rng(0)
    assert torch.equal(RandomFlip(1.0)(image, rng), v2.functional.hflip(image))
    assert torch.equal(RandomFlip(0.0)(image, rng), image)
    flipped = sum(not torch.equal(RandomFlip(0.3)(image, rng), image) for _ in range(2000))
    assert abs(flipped - 600) < 5 * 20.5  # five standard deviations
