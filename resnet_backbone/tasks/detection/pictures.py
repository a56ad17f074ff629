"""Draws a detector's detections, side by side with the ground truth if there is one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as mask_api

from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.errors import StorageError
from resnet_backbone.report.draw import draw_comparison, draw_detections
from resnet_backbone.structures import Batch, Detections, InstanceMask
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import PICTURES

MAX_JPEG_SIDE = 65_500  # of libjpeg, in pixels

logger = logging.getLogger(__name__)


def write_pictures(
    model: RCNN,
    batches: Iterable[Batch],
    class_names: Sequence[str],
    own: OwnFiles,
    device: torch.device,
    *,
    count: int,
    threshold: float = 0.5,
) -> list[Path]:
    """Draws the first `count` images of `batches`, at the model's input size; returns the files.

    The model's training or evaluation mode is restored afterwards. Call it on one rank only.

    Args:
        model: The detector, on `device`.
        batches: The images, with targets if there is ground truth.
        class_names: The name of each class.
        own: The output folder. Files in its folder `pictures` are named after the image ids, with a
            number if others have a file of that name.
        device: The device that batches are moved to.
        count: Number of images to draw; no more are read.
        threshold: Detections with a lower score are not drawn.

    Raises:
        StorageError: the folder or a file cannot be written.
    """
    was_training = model.training
    model.eval()
    files = []
    try:
        for found, picture in islice(_draw(model, batches, class_names, device, threshold), count):
            (name,) = own.free_names([f"{PICTURES}/{found.image_id}.jpg"])
            own.claim([name])
            files.append(own.folder / name)
            save_picture(picture, files[-1])
    finally:
        model.train(was_training)
    return files


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a JPEG file, and creates its folder if necessary.

    A picture with a longer side than JPEG allows is scaled down.

    Raises:
        StorageError: it cannot be written.
    """
    if max(picture.size) > MAX_JPEG_SIDE:
        logger.warning(
            "%s: scaled down from %d x %d pixels, too many for JPEG", path, *picture.size
        )
        picture.thumbnail((MAX_JPEG_SIDE, MAX_JPEG_SIDE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=92)
    except OSError as error:
        raise StorageError(f"{path}: cannot write the picture: {error}") from error


def _draw(
    model: RCNN,
    batches: Iterable[Batch],
    class_names: Sequence[str],
    device: torch.device,
    threshold: float,
) -> Iterator[tuple[Detections, Image.Image]]:
    for batch in batches:
        # With the resized images' sizes as original sizes, detections are in the drawn pixels.
        sizes = [(int(height), int(width)) for height, width in batch.sizes]
        resized = replace(batch, original_sizes=sizes)
        with torch.inference_mode():
            detections = model.detect(resized.to(device))
        for index, found in enumerate(detections):
            image = batch.images[index, :, : found.size[0], : found.size[1]]
            if batch.targets is None:
                picture = draw_detections(image, found, class_names, threshold=threshold)
            else:
                truth = true_detections(resized, index)
                picture = draw_comparison(image, found, truth, class_names, threshold=threshold)
            yield found, picture


def true_detections(batch: Batch, index: int) -> Detections:
    """Returns the ground truth of one image as detections with score 1.

    Args:
        batch: A batch with targets, whose `original_sizes` equal its `sizes`.
        index: Index of the image in the batch.
    """
    if batch.targets is None:
        raise ValueError("ground truth needs a batch with targets")
    size = batch.original_sizes[index]
    valid = batch.targets.valid[index]
    masks = batch.targets.masks[index] if batch.targets.masks else ()
    bitmaps = np.array([_bitmap(mask, size) for mask in masks], dtype=bool)
    return Detections(
        image_id=batch.image_ids[index],
        size=size,
        boxes=batch.targets.boxes[index][valid],
        scores=torch.ones(int(valid.sum())),
        classes=batch.targets.classes[index][valid],
        masks=torch.from_numpy(bitmaps.reshape(-1, *size)) if batch.targets.masks else None,
    )


def _bitmap(mask: InstanceMask, size: tuple[int, int]) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        return mask
    if not mask:
        return np.zeros(size, dtype=bool)
    runs = mask_api.frPyObjects([polygon.ravel().tolist() for polygon in mask], *size)
    return mask_api.decode(mask_api.merge(runs)).astype(bool)
