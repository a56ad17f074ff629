"""What the configuration says is what is done to labelled images."""

import io
import shutil

import numpy as np
import pytest
import tiny_classifier
import torch
from labelled_files import config, first_batches, images
from PIL import Image

from resnet_backbone.config.classification_schema import ImageDataConfig
from resnet_backbone.data.labelled.auto_augment import RandAugment, RandomErase, TrivialAugment
from resnet_backbone.data.labelled.build import build_images, check_labelled_files, training_images
from resnet_backbone.data.labelled.color import PCAColor
from resnet_backbone.data.labelled.crops import (
    CentreCrop,
    RandomFlip,
    RandomResizedCrop,
    ScaleJitterCrop,
)
from resnet_backbone.data.labelled.drawn_classes import draw_classes
from resnet_backbone.data.labelled.labelled_images import FileData, InMemoryData
from resnet_backbone.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    return tiny_classifier.write_images(tmp_path, side=24)


def transforms_of(found):
    """What is done to training images, by the first epoch of it."""
    return dict(found._train.training)


@pytest.mark.parametrize("form", ["folders", "resident"])
def test_validation_takes_images_of_sixteen_bits_as_training_does(tmp_path, form):
    """By the largest training value: a dark set of validation images stays dark."""
    for place, value in (("train", 4095), ("val", 1000)):
        for name in "ab":
            (tmp_path / place / name).mkdir(parents=True)
            values = np.full((24, 24), value, dtype=np.uint16)
            Image.fromarray(values).save(tmp_path / place / name / "0.png")
    crop = "scale_jitter" if form == "folders" else "pad"
    found = images(tmp_path, batch_size=2, format=form, crop=crop)
    assert found.bit_depth == 12
    (batch,) = found.test_batches(2)
    assert batch.images.unique().tolist() == [round(1000 * 255 / 4095)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_papers_crop(root, interpolation):
    found = images(root, interpolation=interpolation, flip=0.25)
    crop = ScaleJitterCrop(16, (18, 28), interpolation=interpolation)
    assert transforms_of(found) == {0: [crop, RandomFlip(0.25)]}
    assert found._val.testing == (CentreCrop(20, 16, interpolation),)


def test_everything_at_once_comes_in_timms_order(root):
    numbers = {"area": (0.25, 0.75), "ratio": (0.5, 2.0)}
    found = images(
        root,
        crop="random_resized",
        auto_augment="trivial",
        pca_color=0.1,
        random_erase=0.25,
        **numbers,
    )
    ((_, transforms),) = found._train.training
    crop, flip, augment, color, erase = transforms
    assert crop == RandomResizedCrop(16, interpolation="bilinear", **numbers)
    assert flip == RandomFlip(0.5)
    assert isinstance(augment, TrivialAugment)
    assert color == PCAColor(0.1)
    assert erase == RandomErase(0.25, (1, 2, 3))  # the colour that `images` asks for


def test_timms_augmentation_is_made_for_the_size_of_the_moment(root):
    pytest.importorskip("timm")
    notation = "rand-m7-mstd0.5-inc1"
    found = images(root, auto_augment=notation, progressive=((0, 10), (3, 16)))
    sizes = {first: transforms[0].size for first, transforms in found._train.training}
    assert sizes == {0: 10, 1: 16}  # 24 images in batches of 8: step 3 begins epoch 1
    assert all(isinstance(t[2], RandAugment) for _, t in found._train.training)
    with pytest.raises(ConfigError, match="data.auto_augment: got 'rnd-m7'"):
        images(root, auto_augment="rnd-m7")


@pytest.mark.parametrize(
    ("progressive", "expected"),
    [
        ((), {0: 16}),
        (((0, 10),), {0: 10}),
        (((3, 10),), {0: 16, 1: 10}),
        (((0, 8), (6, 12)), {0: 8, 2: 12}),
        (((5, 12),), {0: 16, 1: 12}),  # step 5 lies within epoch 1
    ],
)
def test_until_the_first_step_of_growth_the_size_is_the_ordinary_one(root, progressive, expected):
    stages = images(root, progressive=progressive)._train.training
    assert {first: transforms[0].size for first, transforms in stages} == expected


def test_the_seed_is_that_of_the_augmentation(root):
    one, again, other = (first_batches(images(root, seed=s), 1)[0] for s in (1, 1, 2))
    assert torch.equal(one.images, again.images) and one.image_ids == again.image_ids
    assert one.image_ids != other.image_ids


def test_drawn_images_are_in_memory_and_as_many_as_are_asked_for():
    drawn = {"train_images": 9, "val_images": 5, "image_size": 32, "seed": 4}
    cfg = ImageDataConfig(format="shapes", crop="pad", padding=0, flip=0.0, drawn=drawn)
    found = build_images(cfg, batch_size=9, seed=0, fill=None)
    assert isinstance(found, InMemoryData)
    (batch,) = first_batches(found, 1, batch_size=9)
    expected = draw_classes(9, "train", side=32, seed=4)
    order = [expected.names.index(name) for name in batch.image_ids]
    assert torch.equal(batch.images, expected.images[order])
    val = torch.cat([batch.images for batch in found.test_batches(2)])
    assert torch.equal(val, draw_classes(5, "val", side=32, seed=4).images)


def test_resident_images_are_read_as_folders_are(root):
    resident = images(root, format="resident", crop="pad")
    assert isinstance(resident, InMemoryData)
    found = torch.cat([batch.images for batch in resident.test_batches(3)])
    files = torch.cat([batch.images for batch in images(root).whole_images()])
    assert torch.equal(found, files)
    with pytest.raises(DataError, match=r"more than data.max_pixels allows \(575\)"):
        images(root, format="resident", crop="pad", max_pixels=24 * 24 - 1)


def test_cifar_that_is_not_there_says_how_to_get_it(tmp_path):
    for name in ("cifar10", "cifar100"):
        cfg = ImageDataConfig(format=name, crop="pad", root=str(tmp_path))
        with pytest.raises(DataError, match=f"CIFAR-{name.removeprefix('cifar')} is missing or"):
            build_images(cfg, batch_size=8, seed=0, fill=None)


def test_shards_are_read_by_their_patterns(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="shards are webdataset's")
    for split, count in (("train", 6), ("val", 3)):
        with webdataset.TarWriter(str(tmp_path / f"{split}-0000.tar")) as writer:
            for index in range(count):
                content = io.BytesIO()
                Image.new("RGB", (30, 20), (index, 0, 0)).save(content, "PNG")
                sample = {"__key__": f"{index}", "png": content.getvalue(), "cls": index % 3}
                writer.write(sample)
    found = images(
        tmp_path, format="shards", train=("train-{0000..0000}.tar",), val=("val-0000.tar",)
    )
    assert isinstance(found, FileData) and found.class_names == ("0", "1", "2")
    assert sum(len(batch) for batch in found.test_batches(2)) == 3
    (batch,) = first_batches(found, 1, batch_size=6)
    assert sorted(batch.labels.tolist()) == [0, 0, 1, 1, 2, 2]


def test_a_flat_validation_folder_is_labelled_by_a_file(root):
    flat, lines = root / "flat", []
    flat.mkdir()
    for number, file in enumerate(sorted((root / "val").glob("*/*.png"))):
        shutil.copy(file, flat / f"{number}.png")
        lines.append(f"{number} {file.parent.name}")
    (root / "labels.txt").write_text("\n".join(lines))
    found = images(root, val=("flat",), val_labels="labels.txt")
    labels = torch.cat([batch.labels for batch in found.test_batches(8)])
    assert labels.tolist() == [0] * 4 + [1] * 4


def test_images_held_out_in_memory_are_the_validation_split(root):
    shutil.rmtree(root / "val")  # which is not asked for
    found = images(root, format="resident", crop="pad", hold_out=6)
    held = {name for batch in found.test_batches(6) for name in batch.image_ids}
    (batch,) = first_batches(found, 1, batch_size=18)
    assert len(held) == 6 and len(set(batch.image_ids)) == 18 and not held & set(batch.image_ids)


def test_images_grow_from_the_epoch_of_the_step_on(root):
    """24 images in batches of 8: steps 3 and 6 begin epochs, 7 lies within one."""
    found = images(root, progressive=((0, 10), (3, 14), (7, 16)))
    sizes = [batch.images.shape[-1] for batch in first_batches(found, 9)]
    assert sizes == [10] * 3 + [14] * 3 + [16] * 3


def test_held_out_images_are_the_validation_split(root):
    found = images(root, hold_out=6)
    held = {name for batch in found.test_batches(6) for name in batch.image_ids}
    trained = {name for batch in first_batches(found, 2) for name in batch.image_ids}
    assert len(held) == 6 and len(trained) == 16 and not held & trained


def test_images_to_train_and_validate_on_are_counted(root, caplog):
    images(root)
    assert "also trained on" not in caplog.text
    images(root, val=("val", "./train"))
    total = len(list(root.glob("*/*/*.png")))
    count = len(list(root.glob("train/*/*.png")))
    assert f"data.val=val,./train: {count} of {total} validation images are also" in caplog.text


@pytest.mark.parametrize(("form", "crop"), [("folders", "scale_jitter"), ("resident", "pad")])
def test_a_single_class_is_an_error(root, form, crop):
    shutil.rmtree(root / "train" / "dark")
    shutil.rmtree(root / "val" / "dark")
    with pytest.raises(DataError, match="found only one class, light; data.root must hold"):
        images(root, format=form, crop=crop)


def test_validation_images_of_other_classes_are_an_error(root):
    (root / "val" / "dark").rename(root / "val" / "grey")
    with pytest.raises(DataError, match=r"1 missing \(dark\), 1 unknown \(grey\)"):
        images(root)


def test_means_are_of_the_middle_squares(root):
    dataset = training_images(config(root))
    assert len(dataset) == 24
    expected = np.asarray(Image.open(root / "train" / "dark" / "0.png").resize((20, 20), 2))
    found = dataset.test_sample(0).image.permute(1, 2, 0).numpy()
    # Pillow's and torch's antialiased bilinear resizing round differently, by one level.
    assert abs(found.astype(int) - expected[2:18, 2:18]).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"train": ("train", "absent")},
        {"val": ("absent",)},
        {"val_labels": "absent.txt"},
        {"format": "resident", "crop": "pad", "val": ("absent.zip",)},
        {"format": "shards", "train": ("absent-{0000..0001}.tar",)},
        {"format": "cifar10", "crop": "pad"},
        {"format": "cifar100", "crop": "pad"},
    ],
)
def test_what_is_missing_is_noticed_before_anything_is_read(root, changes):
    """In the words of the error that reading would end with."""
    if changes.get("format") == "shards":
        pytest.importorskip("webdataset", reason="shards are webdataset's")
    with pytest.raises(DataError) as reading:
        images(root, **changes)
    with pytest.raises(DataError) as checking:
        check_labelled_files(config(root, **changes))
    assert str(reading.value).splitlines()[0] in str(checking.value).splitlines()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hold_out": 2, "val": ("absent",), "val_labels": "absent.txt"},
        {"format": "resident", "crop": "pad"},
        {"format": "shapes", "crop": "pad", "train": ("absent",)},
    ],
)
def test_nothing_that_is_not_needed_is_missed(root, changes):
    check_labelled_files(config(root, **changes))


def test_all_that_is_missing_is_named_on_one_screen(root):
    absent = tuple(f"absent{number}" for number in range(30))
    with pytest.raises(DataError) as caught:
        check_labelled_files(config(root, train=absent))
    lines = str(caught.value).splitlines()
    assert len(lines) == 11 and "absent9: no such folder" in lines[9]
    assert lines[10] == "and 20 more files"
