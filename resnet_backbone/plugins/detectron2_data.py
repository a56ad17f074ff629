"""Gives detectron2 the images and annotations that our validation has accepted.

detectron2's own reader takes an annotation file as it is: it would train on what validation leaves
out, and number the classes of each file by the order of its ids.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.data.coco.check_images import check_images
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.data.loading.shared_images import warn_of_shared_images
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.tasks.detection.classes import Classes, in_classes_of
from resnet_backbone.utils import distributed
from resnet_backbone.utils.text import count_of

OURS = "our own engine can: leave out --engine"


def read_splits(cfg: Config) -> tuple[CocoDataset, CocoDataset]:
    """Returns the training and validation images, in the same classes; every rank must call it.

    Raises:
        DataError: they cannot be used, at all or by detectron2.
        ConfigError: their classes are not as many as `cfg` says.
    """
    train = build_dataset(cfg.data, "train", with_masks=cfg.model.mask, seed=cfg.seed)
    val = build_dataset(cfg.data, "val", with_masks=cfg.model.mask, seed=cfg.seed)
    warn_of_shared_images(train.files, val.files, val.description)
    classes = Classes(train.class_names, train.category_ids, train.description)
    val = in_classes_of(classes, val)
    for dataset in (train, val):
        _refuse_other_pixels(cfg, dataset)
    if cfg.model.mask:
        _refuse_objects_without_outline(val)
    count = len(train.class_names)
    if cfg.model.num_classes not in (None, count):
        raise ConfigError(
            f"model.num_classes is {cfg.model.num_classes}, but the annotations have {count}"
        )
    return train, val


def register(name: str, dataset: CocoDataset, json_file: Path) -> None:
    """Registers a split, in place of an earlier one of that name.

    Args:
        name: Its name in detectron2's catalogues.
        dataset: The split.
        json_file: Where `coco_content` of it will be for the evaluator.
    """
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, partial(records, dataset))
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        image_root=str(dataset.folder),
        evaluator_type="coco",
        thing_classes=list(dataset.class_names),
        thing_dataset_id_to_contiguous_id={
            place + 1: place for place in range(len(dataset.class_names))
        },
    )


def records(dataset: CocoDataset) -> list[dict[str, Any]]:
    """Returns the images in detectron2's standard format, with the instances to train on."""
    content = coco_content(dataset, trainable=True)
    found = {
        image["id"]: {
            "file_name": str(dataset.folder / image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [],
        }
        for image in content["images"]
    }
    for instance in content["annotations"]:
        found[instance["image_id"]]["annotations"].append(
            {
                "iscrowd": 0,
                "bbox": instance["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": instance["category_id"] - 1,
                "segmentation": instance["segmentation"],
            }
        )
    return list(found.values())


def coco_content(dataset: CocoDataset, *, trainable: bool = False) -> dict[str, Any]:
    """Returns the split as the content of a COCO file whose category ids are 1, 2, 3, ...

    Args:
        dataset: The split.
        trainable: Whether to leave out crowds, and what else cannot be trained on.
    """
    places = {key: place for place, key in enumerate(dataset.category_ids)}
    content = dataset.ground_truth(trainable=trainable)
    annotations = [
        {**annotation, "category_id": places[annotation["category_id"]] + 1}
        for annotation in content["annotations"]
    ]
    names = enumerate(dataset.class_names, start=1)
    categories = [{"id": number, "name": name} for number, name in names]
    return {**content, "info": {}, "annotations": annotations, "categories": categories}


def has_bitmaps(dataset: CocoDataset) -> bool:
    """Returns whether a mask is run-length encoded; detectron2 then needs the bitmask format."""
    instances = dataset.ground_truth(trainable=True)["annotations"]
    return any(isinstance(instance["segmentation"], dict) for instance in instances)


def _refuse_other_pixels(cfg: Config, dataset: CocoDataset) -> None:
    """Raises DataError if detectron2 would read other pixels than ours, or stop at them."""
    if dataset.bit_depth not in ("auto", 16):
        raise DataError(
            f"{dataset.description}: images of 16 bits use {dataset.bit_depth} of them, which "
            f"detectron2 would show nearly black; {OURS}"
        )
    if cfg.data.exif == "auto":
        # detectron2 turns every image, then compares its size.
        check = partial(check_images, exif="apply", max_pixels=cfg.data.max_pixels, skip=False)
        file, folder, images = dataset.annotations, dataset.folder, dataset.images
        distributed.on_main(lambda: check(file, folder, images))


def _refuse_objects_without_outline(val: CocoDataset) -> None:
    """Raises DataError if mask AP has objects without an outline, at which detectron2 stops."""
    instances = val.ground_truth()["annotations"]
    without = sum(not instance["segmentation"] for instance in instances)
    if without:
        raise DataError(
            f"{val.description}: {count_of(without, 'object')} without an outline, which "
            f"detectron2's evaluator cannot leave out of mask AP; {OURS}, or model.mask=false"
        )
