import itertools
import shutil

import numpy as np
import pytest
import tiny_classifier
import torch
from PIL import Image

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.data.labelled.build import build_images, training_images
from resnet_backbone.data.labelled.crops import (
    CentreCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitterCrop,
)
from resnet_backbone.data.labelled.dataset import ClassificationDataset, collate_images
from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.data.labelled.labelled_images import Steps
from resnet_backbone.data.loading.jpeg import decode_image
from resnet_backbone.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path):
    return tiny_classifier.write_images(tmp_path, side=24)


def config(root, **changes) -> ImageDataConfig:
    sizes = {"size": 16, "short_side": (18, 28), "test_resize": 20, "test_size": 16, "workers": 0}
    return ImageDataConfig(root=str(root), **(sizes | changes))


def images(root, batch_size=8, seed=0, **changes):
    return build_images(config(root, **changes), batch_size=batch_size, seed=seed, fill=(1, 2, 3))


def first_batches(found, count, start=0, batch_size=8, accumulate=1):
    batches = found.training_batches(Steps(start, batch_size, accumulate), CPU)
    return list(itertools.islice(batches, count))


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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": "random_resized", "interpolation": "bicubic", "pca_color": 0.1},
        {"crop": "random_resized", "auto_augment": "trivial", "random_erase": 0.5},
    ],
)
def test_workers_and_where_training_begins_change_nothing(root, changes):
    straight = first_batches(images(root, **changes), 5)
    late = first_batches(images(root, workers=2, **changes), 2, start=3)
    for one, two in zip(straight[3:], late, strict=True):
        assert torch.equal(one.images, two.images) and one.image_ids == two.image_ids
    seen = [name for batch in straight[:3] for name in batch.image_ids]
    assert len(set(seen)) == 24  # an epoch


def test_repeated_images_stand_together_and_differ(root):
    batch = first_batches(images(root, repeats=4, crop="random_resized"), 1)[0]
    assert batch.image_ids[0] == batch.image_ids[3] != batch.image_ids[4] == batch.image_ids[7]
    assert not torch.equal(batch.images[0], batch.images[1])


def test_images_grow_from_the_epoch_of_the_step_on(root):
    """24 images in batches of 8: steps 3 and 6 begin epochs, 7 lies within one."""
    found = images(root, progressive=((0, 10), (3, 14), (7, 16)))
    sizes = [batch.images.shape[-1] for batch in first_batches(found, 9)]
    assert sizes == [10] * 3 + [14] * 3 + [16] * 3


def test_test_images_come_cropped_or_whole(root):
    found = images(root)
    cropped = list(found.test_batches(3))
    assert [len(batch) for batch in cropped] == [3, 3, 2]
    assert {batch.images.shape[1:] for batch in cropped} == {(3, 16, 16)}
    whole = list(found.whole_images())
    assert {batch.images.shape for batch in whole} == {(1, 3, 24, 24)} and len(whole) == 8


def test_an_image_that_cannot_be_read_is_an_error_or_is_replaced_and_listed(root):
    bad = root / "train" / "dark" / "3.png"
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(DataError, match=r"dark/3.png: damaged or cut short"):
        first_batches(images(root), 3)
    found = images(root, on_bad_sample="skip")
    batches = first_batches(found, 3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    (line,) = found.skipped()["train"]
    assert "dark/3.png" in line


def test_held_out_images_are_the_validation_split(root):
    found = images(root, hold_out=6)
    held = {name for batch in found.test_batches(6) for name in batch.image_ids}
    trained = {name for batch in first_batches(found, 2) for name in batch.image_ids}
    assert len(held) == 6 and len(trained) == 16 and not held & trained


def test_the_fingerprint_is_of_names_and_labels_wherever_they_lie(root, tmp_path_factory):
    one = images(root).fingerprint()
    moved = tiny_classifier.write_images(tmp_path_factory.mktemp("moved"), side=24)
    assert images(moved).fingerprint() == one
    (moved / "train" / "dark" / "9.png").rename(moved / "train" / "light" / "99.png")
    assert images(moved).fingerprint()["train"] != one["train"]


@pytest.mark.parametrize(("form", "crop"), [("folders", "scale_jitter"), ("resident", "pad")])
def test_a_single_class_is_an_error(root, form, crop):
    shutil.rmtree(root / "train" / "dark")
    shutil.rmtree(root / "val" / "dark")
    with pytest.raises(DataError, match="there is one class only, light; data.root holds"):
        images(root, format=form, crop=crop)


def test_validation_images_of_other_classes_are_an_error(root):
    (root / "val" / "dark").rename(root / "val" / "grey")
    with pytest.raises(DataError, match=r"1 lacking \(dark\), 1 unknown \(grey\)"):
        images(root)


def test_means_are_of_the_middle_squares(root):
    dataset = training_images(config(root))
    assert len(dataset) == 24
    expected = np.asarray(Image.open(root / "train" / "dark" / "0.png").resize((20, 20), 2))
    found = dataset.test_sample(0).image.permute(1, 2, 0).numpy()
    # Pillow's and torch's antialiased bilinear resizing round differently, by one level.
    assert abs(found.astype(int) - expected[2:18, 2:18]).max() <= 1
