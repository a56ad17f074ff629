import numpy as np
import pytest
import tiny_classifier
import torch
from PIL import Image

from resnet_backbone.data.labelled.crops import (
    CentreCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitterCrop,
)
from resnet_backbone.data.labelled.dataset import ClassificationDataset, collate_images
from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.data.loading.jpeg import decode_image

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path):
    return tiny_classifier.write_images(tmp_path, side=24)


def test_samples_are_functions_of_seed_epoch_and_position(root):
    stages = [(0, (RandomResizedCrop(12), RandomFlip()))]
    source = ImageFolder([root / "train"])
    dataset = ClassificationDataset(source, training=stages, seed=1)
    sample = dataset.training_sample(3, 2, 7)
    again = ClassificationDataset(source, training=stages, seed=1).training_sample(3, 2, 7)
    assert torch.equal(sample.image, again.image) and sample.key == again.key
    for other in ((3, 2, 8), (3, 1, 7)):
        assert not torch.equal(sample.image, dataset.training_sample(*other).image)
    other = ClassificationDataset(source, training=stages, seed=2).training_sample(3, 2, 7)
    assert not torch.equal(sample.image, other.image)


def test_batches_are_uint8_and_channels_last(root):
    dataset = ClassificationDataset(ImageFolder([root / "train"]), testing=(CentreCrop(20, 16),))
    samples = [dataset.test_sample(n) for n in (0, 13)]
    batch = collate_images(samples)
    assert batch.images.shape == (2, 3, 16, 16) and batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images[1], samples[1].image)
    assert batch.labels.tolist() == [0, 1]
    assert batch.image_ids[1].endswith("train/light/1.png")


@pytest.mark.parametrize("crop", [RandomResizedCrop(12), ScaleJitterCrop(12, (14, 30))])
def test_crops_are_those_of_the_whole_image(tmp_path, crop):
    """Though rows below them are not decoded."""
    (tmp_path / "cat").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cat" / "0.jpg", subsampling="4:2:0")
    source, flip = ImageFolder([tmp_path]), RandomFlip()
    dataset = ClassificationDataset(source, training=[(0, (crop, flip))])
    image = decode_image(source.read(0), "0.jpg")
    for position in range(20):
        rng = np.random.default_rng((0, 0, position))
        rng.integers(2**63)  # the key
        found = dataset.training_sample(0, 0, position).image
        assert torch.equal(found, flip(crop(image, rng), rng))
