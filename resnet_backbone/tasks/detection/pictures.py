"""Draws a detector's detections, side by side with the ground truth if there is one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as mask_api

from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.batch import collate_samples
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.errors import DataError, StorageError
from resnet_backbone.evaluation.details import Details
from resnet_backbone.evaluation.worst import worst_images
from resnet_backbone.report.draw import ColorBy, draw_comparison, titled
from resnet_backbone.structures import Detections, InstanceMask, Sample
from resnet_backbone.utils import precision
from resnet_backbone.utils.own_files import OwnFiles
from resnet_backbone.utils.run_layout import PICTURES, WORST

MAX_JPEG_SIDE = 65_500  # of libjpeg, in pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Painter:
    """Draws the images of a dataset at their own size, whatever size the model looks at.

    Attributes:
        model: The detector, on `device`.
        dataset: The images; their ground truth is drawn if they have annotations.
        device: The device of the model.
        threshold: Detections with a lower score are drawn only where no other is found.
        color_by: What the colours tell apart, see `draw_detections`.
        amp: The layers' precision.
    """

    model: RCNN
    dataset: CocoDataset
    device: torch.device
    threshold: float = 0.5
    color_by: ColorBy = "class"
    amp: precision.Settled = "off"

    def draw(self, index: int, caption: str = "") -> Image.Image:
        """Returns the picture of an image, below a caption if there is one.

        The model must be in evaluation mode.

        Raises:
            DataError: the image cannot be read.
        """
        seen = collate_samples(
            [self.dataset.test_sample(index)], size_divisor=self.model.size_divisor
        )
        with torch.inference_mode(), precision.autocast(self.amp, self.device):
            (found,) = self.model.detect(seen.to(self.device))
        original = self.dataset.original_sample(index)
        truth = true_detections(original) if self.dataset.annotated else None
        picture = draw_comparison(
            original.image,
            found.cpu(),
            truth,
            self.dataset.class_names,
            threshold=self.threshold,
            color_by=self.color_by,
        )
        return titled(picture, caption) if caption else picture


def make_painter(cfg: Config, model: RCNN, dataset: CocoDataset, device: torch.device) -> Painter:
    """Returns what draws the images of a split as `cfg.evaluation` says."""
    amp = precision.for_inference(cfg.solver.amp, device)
    return Painter(model, dataset, device, color_by=cfg.evaluation.color_by, amp=amp)


def write_pictures(
    painter: Painter,
    own: OwnFiles,
    *,
    count: int,
    captions: Mapping[int, str] | None = None,
    folder: str = PICTURES,
) -> list[Path]:
    """Draws images into a folder, and returns the files; call it on one rank only.

    The model's training or evaluation mode is restored afterwards.

    Args:
        painter: What draws an image.
        own: The output folder. A picture has the name of its image, `street.jpg` for
            `street.png`, with a number if that name is taken.
        count: Number of images to draw; no more are read. Images that cannot be read, which the
            evaluation has reported, do not count.
        captions: By index, the images to draw with a caption each; None draws the first images of
            the dataset without any.
        folder: The folder of the pictures, in the output folder.

    Raises:
        StorageError: the folder or a file cannot be written.
    """
    was_training = painter.model.training
    painter.model.eval()
    if captions is None:
        captions = dict.fromkeys(range(len(painter.dataset)), "")
    names: list[str] = []
    try:
        for index, picture in islice(_readable(painter, captions), count):
            name = _picture_name(painter.dataset, index, own, folder, names)
            own.claim([name])
            save_picture(picture, own.folder / name)
            names.append(name)
    finally:
        painter.model.train(was_training)
    return [own.folder / name for name in names]


def write_worst_pictures(
    painter: Painter, own: OwnFiles, details: Details, *, count: int
) -> list[Path]:
    """Draws the images with the most errors into pictures/worst, worst first, and says why.

    Those of an earlier evaluation in the same output folder are removed.

    Args:
        painter: What draws an image.
        own: The output folder.
        details: The evaluation of the painter's dataset.
        count: Maximum number of images; images without errors are not drawn.

    Raises:
        StorageError: the folder or a file cannot be written.
    """
    own.remove(below=WORST)
    if details.matches is None:
        return []
    places = {image_id: place for place, image_id in enumerate(painter.dataset.image_ids)}
    worst = worst_images(details.matches, details.class_names, count)
    captions = {
        places[details.image_ids[errors.image]]: f"Worst {rank}: {errors.remark}"
        for rank, errors in enumerate(worst, start=1)
    }
    return write_pictures(painter, own, count=count, captions=captions, folder=WORST)


def _readable(painter: Painter, captions: Mapping[int, str]) -> Iterator[tuple[int, Image.Image]]:
    for index, caption in captions.items():
        try:
            yield index, painter.draw(index, caption)
        except DataError as error:
            logger.warning("not drawn: %s", error)


def _picture_name(
    dataset: CocoDataset, index: int, own: OwnFiles, folder: str, taken: Collection[str]
) -> str:
    """Returns the name, below the output folder, of the picture of an image."""
    stem = PurePosixPath(dataset.images[index].file_name).stem
    (name,) = own.free_names([f"{folder}/{stem}.jpg"], reserved=taken)
    return name


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


def true_detections(sample: Sample) -> Detections:
    """Returns the ground truth of an image as detections with score 1, in pixels of `sample`."""
    height, width = sample.image.shape[1:]
    masks = [_bitmap(mask, (height, width)) for mask in sample.masks]
    # Without instances there is no mask that would tell whether the dataset has masks.
    bitmaps = np.array(masks, dtype=bool).reshape(-1, height, width) if masks else None
    return Detections(
        image_id=sample.image_id,
        size=(height, width),
        boxes=sample.boxes,
        scores=torch.ones(len(sample.boxes)),
        classes=sample.classes,
        masks=None if bitmaps is None else torch.from_numpy(bitmaps),
    )


def _bitmap(mask: InstanceMask, size: tuple[int, int]) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        return mask
    if not mask:
        return np.zeros(size, dtype=bool)
    runs = mask_api.frPyObjects([polygon.ravel().tolist() for polygon in mask], *size)
    return mask_api.decode(mask_api.merge(runs)).astype(bool)
