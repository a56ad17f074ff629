"""A COCO-format dataset, which produces samples for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from resnet_backbone.data.coco.annotations import Annotations
from resnet_backbone.data.coco.records import ImageRecord
from resnet_backbone.data.coco.transforms import Annotated, augment, resize_sample
from resnet_backbone.data.loading.decoding import MAX_PIXELS, BitDepth
from resnet_backbone.data.loading.headers import ExifPolicy
from resnet_backbone.data.loading.images import read_image
from resnet_backbone.structures import InstanceMask, Sample


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images; `config.schema.DataConfig` describes the fields."""

    short_sides: tuple[int, ...]
    max_side: int
    flip: float


class CocoDataset:
    """Images and instances of one split.

    Args:
        annotations_file: The file that `annotations` was read from.
        folder: The folder of the images.
        annotations: The validated annotations.
        selected: Indices of the images to use.
        with_masks: Whether samples have masks.
        augmentation: Augmentation of training samples.
        test_size: (short side, maximum long side) of evaluation samples, in pixels.
        seed: The seed for augmentation.
        exif: How to treat the EXIF orientation, see `images.read_image`.
        max_pixels: Images with more pixels are rejected without decoding them.

    Attributes:
        skipped: One line per image that cannot be read and is left out.
        bit_depth: The range of channels of more than 8 bits, see `images.read_image`.
    """

    def __init__(
        self,
        annotations_file: Path,
        folder: Path,
        annotations: Annotations,
        selected: Sequence[int],
        *,
        with_masks: bool,
        augmentation: Augmentation,
        test_size: tuple[int, int],
        seed: int,
        exif: ExifPolicy = "auto",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.annotations = annotations_file
        self.folder = folder
        self.class_names = annotations.class_names
        self.category_ids: tuple[int | None, ...] = annotations.category_ids
        self.defects = annotations.report
        self._annotations = self._as_in_file = annotations  # the former with other classes
        self._records = [annotations.images[number] for number in selected]
        self._numbers = list(selected)
        self.image_ids = tuple(record.id for record in self._records)
        self._with_masks = with_masks
        self._augmentation = augmentation
        self._test_size = test_size
        self._seed = seed
        self.skipped: list[str] = []
        self.bit_depth: BitDepth = "auto"
        self._exif = exif
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._records)

    @property
    def description(self) -> str:
        """The dataset's name in messages."""
        return str(self.annotations)

    @property
    def annotated(self) -> bool:
        """Whether the file has annotations, usable or not; COCO's test files have none."""
        return bool(len(self._annotations.classes) or self.defects.dropped)

    @property
    def landscape(self) -> np.ndarray:
        """bool[len(self)], true for images that are wider than high."""
        return np.array([record.width > record.height for record in self._records], dtype=bool)

    @property
    def images(self) -> list[ImageRecord]:
        """The record of each image."""
        return self._records

    @property
    def files(self) -> list[str]:
        """The path of each image, without links in that of the folder."""
        folder = self.folder.resolve()
        return [str(folder / record.file_name) for record in self._records]

    @property
    def object_counts(self) -> np.ndarray:
        """int64[len(self)]: how many instances to train on each image has."""
        counts = [len(self._annotations.instances(number)) for number in self._numbers]
        return np.array(counts, dtype=np.int64)

    @property
    def class_counts(self) -> np.ndarray:
        """int64[K]: how many instances to train on each class has, in all images."""
        annotations = self._annotations
        found = [annotations.classes[annotations.instances(number)] for number in self._numbers]
        classes = np.concatenate([np.empty(0, dtype=np.int64), *found])
        return np.bincount(classes, minlength=len(self.class_names))

    def training_boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the boxes to train on in pixels of their files, and the image of each.

        They are float64[N, 4], xyxy with an area, and int64[N], indices into `images`.
        """
        annotations = self._annotations
        found = [annotations.instances(number) for number in self._numbers]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *found])
        images = np.repeat(np.arange(len(found)), [len(instances) for instances in found])
        return annotations.boxes[rows].astype(np.float64), images

    @property
    def used_classes(self) -> np.ndarray:
        """bool[K], true for classes with an annotation (crowds too) in any image of the file."""
        counts = np.bincount(self._annotations.classes, minlength=len(self.class_names))
        return counts > 0

    def with_classes(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int | None],
        places: Sequence[int],
    ) -> CocoDataset:
        """Returns a copy with other classes.

        Args:
            class_names: The name of each new class.
            category_ids: Its category id in the annotation file; None if the file does not have it.
            places: The new class of each present one; any number for one without annotations.
        """
        changed = copy(self)
        changed.class_names, changed.category_ids = tuple(class_names), tuple(category_ids)
        classes = np.array(places, dtype=np.int64)[self._annotations.classes]
        changed._annotations = replace(self._annotations, classes=classes)
        return changed

    def ground_truth(self, *, trainable: bool = False) -> dict[str, list[dict[str, Any]]]:
        """Returns what the evaluation judges by, as the content of a COCO-format file.

        Args:
            trainable: Whether to leave out what cannot be trained on, crowds above all.
        """
        return self._as_in_file.to_coco(self._numbers, trainable=trainable)

    def training_sample(self, index: int, epoch: int, position: int) -> Sample:
        """Returns image `index`, augmented; depends only on the arguments and the seed.

        Raises:
            DataError: the image cannot be read.
        """
        rng = np.random.default_rng((self._seed, epoch, position))
        options = self._augmentation
        sample = augment(
            self._read(index),
            rng,
            short_sides=options.short_sides,
            max_side=options.max_side,
            flip=options.flip,
        )
        return self._finish(sample, index, key=int(rng.integers(2**62)))

    def test_sample(self, index: int) -> Sample:
        """Returns image `index`, resized for evaluation but not augmented.

        Raises:
            DataError: the image cannot be read.
        """
        sample = resize_sample(self._read(index), *self._test_size)
        return self._finish(sample, index, key=self._records[index].id & (2**62 - 1))

    def original_sample(self, index: int) -> Sample:
        """Returns image `index` as large as it is in its file, with instances in its pixels.

        Raises:
            DataError: the image cannot be read.
        """
        return self._finish(self._read(index), index, key=self._records[index].id & (2**62 - 1))

    def _read(self, index: int) -> Annotated:
        record = self._records[index]
        image = read_image(
            self.folder / record.file_name,
            size=(record.height, record.width),
            exif=self._exif,
            max_pixels=self._max_pixels,
            bit_depth=self.bit_depth,
        )
        instances = self._annotations.instances(self._numbers[index])
        masks = [self._mask(instance) for instance in instances] if self._with_masks else ()
        return Annotated(
            image,
            self._annotations.boxes[instances],
            self._annotations.classes[instances],
            masks,
        )

    def _mask(self, instance: int) -> InstanceMask:
        segmentation = self._annotations.segmentation(instance)
        if isinstance(segmentation, list):
            return segmentation
        return coco_mask.decode(segmentation).astype(bool)

    def _finish(self, sample: Annotated, index: int, key: int) -> Sample:
        record = self._records[index]
        return Sample(
            image=sample.image,
            image_id=record.id,
            original_size=(record.height, record.width),
            key=key,
            boxes=torch.from_numpy(sample.boxes),
            classes=torch.from_numpy(sample.classes),
            masks=sample.masks,
        )
