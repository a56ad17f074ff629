"""Pictures of training images with their boxes and masks, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from resnet_backbone.report.draw import draw_detections
from resnet_backbone.structures import Batch, InstanceMask, Sample
from resnet_backbone.tasks.detection.pictures import true_detections


def draw_targets(batch: Batch, class_names: Sequence[str], count: int) -> list[Image.Image]:
    """Returns pictures of the first `count` images with their padding, boxes, masks and classes.

    Args:
        batch: Images with targets, on the CPU.
        class_names: The name of each class.
        count: Maximum number of pictures.
    """
    samples = [_sample(batch, index) for index in range(min(count, len(batch.image_ids)))]
    return [
        draw_detections(
            sample.image, true_detections(sample), class_names, threshold=0.0, show_scores=False
        )
        for sample in samples
    ]


def _sample(batch: Batch, index: int) -> Sample:
    """Returns an image of a batch with its padding."""
    targets = batch.targets
    if targets is None:
        raise ValueError("training images need targets")
    valid = targets.valid[index]
    height, width = batch.images.shape[2:]
    return Sample(
        image=batch.images[index],
        image_id=batch.image_ids[index],
        original_size=batch.original_sizes[index],
        key=int(targets.keys[index]),
        boxes=targets.boxes[index][valid],
        classes=targets.classes[index][valid],
        masks=[_padded(m, height, width) for m in targets.masks[index]] if targets.masks else (),
    )


def _padded(mask: InstanceMask, height: int, width: int) -> InstanceMask:
    """Returns a mask of the size of the batch; bitmaps have that of their image."""
    if not isinstance(mask, np.ndarray):
        return mask
    return np.pad(mask, ((0, height - mask.shape[0]), (0, width - mask.shape[1])))
