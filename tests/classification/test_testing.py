import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import v2

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.testing import (
    MultiScale,
    TenCrop,
    classify_images,
    ensemble,
    make_testing,
)
from resnet_backbone.errors import ConfigError


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def classify(views: torch.Tensor) -> torch.Tensor:
    """Scores that depend on every pixel and its place."""
    weights = torch.linspace(-1, 1, 7 * views[0].numel()).reshape(7, -1).sin()
    return views.flatten(1).float() @ weights.T / views.shape[-1]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_classifier("resnet18", num_classes=6).eval()


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (48, 48), (100, 37)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_ten_crops_are_torchvisions(size, interpolation):
    picture = image(*size)
    mode = v2.InterpolationMode(interpolation)
    resized = v2.functional.resize(picture, [32], interpolation=mode, antialias=True)
    ten = TenCrop(32, 24, interpolation).views(picture)
    for ours, theirs in zip(ten, v2.functional.ten_crop(resized, [24]), strict=True):
        assert torch.equal(ours, theirs)


def test_ten_crop_is_the_mean_of_the_crops_one_by_one(network):
    picture = image(80, 100)
    resized = v2.functional.resize(picture, [72], antialias=True)
    with torch.no_grad():
        crops = v2.functional.ten_crop(resized, [64])
        one_by_one = [network(crop[None].float() / 255).softmax(1) for crop in crops]
        found = classify_images(
            lambda views: network(views.float() / 255), [picture], TenCrop(72, 64)
        )
    # Batches of ten instead of one: float32 rounding.
    torch.testing.assert_close(found, torch.stack(one_by_one).mean(0), atol=1e-5, rtol=1e-4)


def test_scores_of_the_fully_convolutional_form_are_the_classifiers(network):
    """The linear layer as a 1x1 convolution, its map of scores averaged; at any size."""
    kernel = network.fc.weight[:, :, None, None]
    for height, width in ((224, 224), (256, 320)):
        picture = torch.randn(1, 3, height, width)
        with torch.no_grad():
            scores = F.conv2d(network.features(picture)["res5"], kernel, network.fc.bias)
            assert scores.shape[2:] == (height // 32, width // 32)
            torch.testing.assert_close(network(picture), scores.mean((2, 3)), atol=1e-5, rtol=1e-4)


def test_multi_scale_looks_at_whole_images_and_their_mirror_images():
    picture = image(50, 75)
    views = MultiScale((40, 64)).views(picture)
    assert [tuple(view.shape[1:]) for view in views] == [(40, 60)] * 2 + [(64, 96)] * 2
    assert torch.equal(views[1], views[0].flip(2)) and torch.equal(views[3], views[2].flip(2))
    found = classify_images(classify_mean, [picture], MultiScale((40, 64)))
    expected = torch.stack([classify_mean(view[None]).softmax(1)[0] for view in views]).mean(0)
    torch.testing.assert_close(found[0], expected)


def classify_mean(views: torch.Tensor) -> torch.Tensor:
    return torch.cat([views.float().mean((2, 3)), views.float().amax((2, 3))], 1) / 50


@pytest.mark.parametrize("max_views", [1, 3, 64])
def test_images_of_several_sizes_do_not_disturb_one_another(max_views):
    pictures = [image(40, 60, 1), image(60, 40, 2), image(33, 33, 3), image(1, 1, 4)]
    together = classify_images(classify, pictures, TenCrop(32, 24), max_views=max_views)
    alone = [classify_images(classify, [picture], TenCrop(32, 24)) for picture in pictures]
    torch.testing.assert_close(together, torch.cat(alone))
    assert together.shape == (4, 7)
    torch.testing.assert_close(together.sum(1), torch.ones(4))


def test_an_ensemble_is_the_mean_of_its_members():
    pictures = [image(40, 60, 1), image(60, 40, 2)]
    members = [classify, lambda views: classify(255 - views)]
    testing = TenCrop(32, 24)
    one, two = (classify_images(member, pictures, testing) for member in members)
    torch.testing.assert_close(ensemble(members, pictures, testing), (one + two) / 2)


def test_names():
    assert make_testing("ten_crop") == TenCrop(256, 224)
    assert make_testing("ten_crop", resize=9, size=8) == TenCrop(9, 8)
    assert make_testing("multi_scale", scales=(7,)) == MultiScale((7,))
    with pytest.raises(ConfigError, match="got 'tencrop', expected ten_crop"):
        make_testing("tencrop")
