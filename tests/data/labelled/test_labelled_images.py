"""Batches of training and testing, wherever the images are kept, alone and among ranks."""

import hashlib

import pytest
import tiny_classifier
import torch
from labelled_files import CPU, first_batches, images

from resnet_backbone.data.labelled.in_memory import InMemoryImages
from resnet_backbone.data.labelled.labelled_images import InMemoryData, Steps
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.utils import distributed


@pytest.fixture
def root(tmp_path):
    return tiny_classifier.write_images(tmp_path, side=24)


def split(count, *, skipped=(), side=6):
    pixels = torch.randint(0, 256, (count, 3, side, side + 1), dtype=torch.uint8)
    names = [f"image {number}" for number in range(count)]
    return InMemoryImages(pixels, torch.arange(count) % 3, names, ("a", "b", "c"), skipped)


def in_memory(train=None, val=None, *, fill=(1, 2, 3), padding=2, flip=0.5):
    return InMemoryData(
        train or split(20), val or split(7), seed=3, padding=padding, flip=flip, fill=fill
    )


@pytest.fixture
def as_rank(monkeypatch):
    """Makes this process believe to be one rank of several."""

    def become(rank, world_size):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)

    return become


SOURCES = pytest.mark.parametrize("source", ["memory", "files"])


def made(source, root):
    return in_memory(split(24), split(8)) if source == "memory" else images(root)


@SOURCES
@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_ranks_and_passes_share_the_batch_of_one(source, root, as_rank, ranks, accumulate):
    found = made(source, root)
    (whole,) = first_batches(found, 1, start=1)
    parts = []
    for rank in range(ranks):
        as_rank(rank, ranks)
        parts += first_batches(found, accumulate, start=1, accumulate=accumulate)
    assert {len(part) for part in parts} == {8 // (ranks * accumulate)}
    names = [name for part in parts for name in part.image_ids]
    pixels = torch.cat([part.images for part in parts])
    assert sorted(names) == sorted(whole.image_ids)
    for name, image in zip(whole.image_ids, whole.images, strict=True):
        assert torch.equal(pixels[names.index(name)], image)


@SOURCES
def test_the_first_step_may_be_any(source, root):
    found = made(source, root)
    straight, late = first_batches(found, 4), first_batches(found, 1, start=3)
    assert torch.equal(straight[3].images, late[0].images)
    assert torch.equal(straight[3].keys, late[0].keys)
    assert not torch.equal(straight[0].images, straight[3].images)


@SOURCES
@pytest.mark.parametrize("ranks", [1, 3])
def test_every_test_image_is_seen_once(source, root, as_rank, ranks):
    found, names, whole = made(source, root), [], []
    for rank in range(ranks):
        as_rank(rank, ranks)
        batches = found.test_batches(3)
        assert len(batches) == len(list(batches))
        assert all(len(batch) <= 3 for batch in batches)
        names += [name for batch in batches for name in batch.image_ids]
        assert all(len(batch) == 1 for batch in found.whole_images())
        whole += [name for batch in found.whole_images() for name in batch.image_ids]
    assert len(names) == len(set(names)) == 8
    assert sorted(whole) == sorted(names)


# --- in memory ---


def test_padding_has_the_colour_that_is_asked_for_or_the_mean():
    white = InMemoryImages(
        torch.full((4, 3, 6, 6), 255, dtype=torch.uint8),
        torch.arange(4) % 3,
        list("wxyz"),
        ("a", "b", "c"),
    )
    (batch,) = first_batches(in_memory(white, fill=(7, 8, 9), padding=20), 1, batch_size=4)
    colours = set(map(tuple, batch.images.permute(0, 2, 3, 1).reshape(-1, 3).tolist()))
    assert colours <= {(255, 255, 255), (7, 8, 9)} and (7, 8, 9) in colours
    # The mean of white images is white: nothing else is to be seen.
    (batch,) = first_batches(in_memory(white, fill=None, padding=20), 1, batch_size=4)
    assert (batch.images == 255).all()


def test_the_mean_of_the_padding_is_rounded_per_channel():
    train = split(10)
    (batch,) = first_batches(in_memory(train, fill=None, padding=50), 1, batch_size=10)
    mean = train.images.double().mean(dim=(0, 2, 3)).round().tolist()
    corners = batch.images[:, :, 0, 0].tolist()
    assert corners.count(mean) >= 8  # of 101 x 101 places, few show a corner of the image


def test_test_images_come_as_they_are():
    val = split(7)
    batches = list(in_memory(val=val).test_batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch.images for batch in batches]), val.images)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), val.labels)


def test_the_mean_image_is_of_the_training_images():
    train = split(9)
    expected = train.images.double().mean(dim=0).float()
    torch.testing.assert_close(in_memory(train).mean_image(), expected)


def test_fingerprints_are_of_pixels_and_labels():
    train, val = split(9), split(4)
    found = in_memory(train, val).fingerprint()
    content = val.labels.numpy().tobytes() + val.images.numpy().tobytes()
    assert found["val"] == hashlib.sha256(content).hexdigest()
    assert set(found) == {"train", "val"} and found["train"] != found["val"]


def test_what_was_left_out_is_listed_by_split():
    found = in_memory(split(9, skipped=("x.jpg: damaged",)), split(4))
    assert found.skipped() == {"train": ["x.jpg: damaged"], "val": []}
    assert found.class_names == ("a", "b", "c")


# --- in files ---


def test_the_mean_of_files_is_another_tools_work(root):
    with pytest.raises(
        ConfigError,
        match="auto, which needs images in memory; compute a file with",
    ):
        images(root).mean_image()


def test_a_test_image_that_cannot_be_read_is_left_out_once(root):
    bad = root / "val" / "light" / "0.png"
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(DataError, match=r"light/0\.png"):
        list(images(root).test_batches(3))
    found = images(root, on_bad_sample="skip")
    for batches in (found.test_batches(3), found.whole_images(), found.whole_images()):
        assert sum(len(batch) for batch in batches) == 7
    (line,) = found.skipped()["val"]
    assert "light/0.png" in line and found.skipped()["train"] == []


def test_class_names_are_those_of_the_training_images(root):
    assert images(root).class_names == tiny_classifier.CLASSES
    labels = {
        name.split("/")[-2]: int(label)
        for batch in images(root).test_batches(8)
        for name, label in zip(batch.image_ids, batch.labels, strict=True)
    }
    assert labels == {"dark": 0, "light": 1}


def test_batches_go_on_without_end(root):
    batches = images(root).training_batches(Steps(0, 8), CPU)
    seen = [next(batches).image_ids for _ in range(7)]  # 24 images: two epochs and a step
    assert sorted(seen[0] + seen[1] + seen[2]) == sorted(seen[3] + seen[4] + seen[5])
    assert seen[:3] != seen[3:6]


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
    with pytest.raises(DataError, match=r"dark/3.png: damaged or truncated"):
        first_batches(images(root), 3)
    found = images(root, on_bad_sample="skip")
    batches = first_batches(found, 3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    (line,) = found.skipped()["train"]
    assert "dark/3.png" in line


def test_the_fingerprint_is_of_names_and_labels_wherever_they_lie(root, tmp_path_factory):
    one = images(root).fingerprint()
    moved = tiny_classifier.write_images(tmp_path_factory.mktemp("moved"), side=24)
    assert images(moved).fingerprint() == one
    (moved / "train" / "dark" / "9.png").rename(moved / "train" / "light" / "99.png")
    assert images(moved).fingerprint()["train"] != one["train"]
