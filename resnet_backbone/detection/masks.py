"""Converts between instance masks of image size and the mask head's small square masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import roi_align

from resnet_backbone.structures import InstanceMask

# Number of pixels that `paste` interpolates at a time: 16 MiB of float32.
PASTE_CHUNK = 2**22


def rasterize(masks: Sequence[InstanceMask], boxes: Tensor, resolution: int) -> Tensor:
    """Crops each mask to its box and resamples it; returns bool[R, resolution, resolution].

    Polygons are scaled to the square and filled by COCO's own rasteriser, as in detectron2
    (structures/masks.py, rasterize_polygons_within_box), which keeps their exact vertices. Bitmaps
    are resampled bilinearly (BitMasks.crop_and_resize). Runs on the host.

    Args:
        masks: R masks, one per box.
        boxes: float32[R, 4], xyxy in pixels of the masks, on the CPU.
        resolution: Side of the squares.
    """
    squares = np.zeros((len(masks), resolution, resolution), dtype=bool)
    for square, mask, box in zip(squares, masks, boxes.double().numpy(), strict=True):
        if isinstance(mask, np.ndarray):
            square[:] = _resample(mask, box, resolution)
        else:
            square[:] = _fill(mask, box, resolution)
    return torch.from_numpy(squares)


def _fill(polygons: list[np.ndarray], box: np.ndarray, resolution: int) -> np.ndarray:
    # At least 0.1 px, so that the scale is finite for boxes without area.
    scale = resolution / np.maximum(box[2:] - box[:2], 0.1)  # [2], (x, y)
    corners = [((polygon - box[:2]) * scale).ravel() for polygon in polygons]
    runs = coco_mask.frPyObjects(corners, resolution, resolution)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def _resample(bitmap: np.ndarray, box: np.ndarray, resolution: int) -> np.ndarray:
    image = torch.from_numpy(bitmap)[None, None].float()  # [1, 1, H, W]
    region = torch.tensor([[0.0, *box]], dtype=torch.float32)  # [1, 5]
    return (roi_align(image, region, resolution, 1.0, 0, aligned=True) >= 0.5).numpy()[0, 0]


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Resizes each square mask to its box in the image; returns bool[N, height, width].

    The interpolation is bilinear with zeros outside, sampled at pixel centres (detectron2/layers/
    mask_ops.py). As it is separable, it takes two small matrix products for all instances together
    instead of a loop over instances.

    Args:
        masks: float[N, M, M], probabilities.
        boxes: float32[N, 4], xyxy in pixels of the result.
        size: (height, width) of the result.
        threshold: Minimum probability for a pixel to belong to the instance.
    """
    height, width = size
    pasted = torch.empty((len(masks), height, width), dtype=torch.bool, device=masks.device)
    chunk = max(1, PASTE_CHUNK // max(1, height * width))  # n instances at a time
    for start in range(0, len(masks), chunk):
        part = slice(start, start + chunk)
        rows = _interpolation(boxes[part, 1], boxes[part, 3], height, masks.shape[1])
        columns = _interpolation(boxes[part, 0], boxes[part, 2], width, masks.shape[2])
        # [n, height, M] @ [n, M, M] @ [n, M, width] -> [n, height, width]
        values = rows @ masks[part].float() @ columns.transpose(1, 2)
        torch.ge(values, threshold, out=pasted[part])
    return pasted


def _interpolation(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Returns float32[N, length, cells], the linear interpolation weight of each cell per pixel."""
    pixels = torch.arange(length, device=start.device) + 0.5  # [length]
    # A thinner box contains no pixel centre anyway.
    extent = (end - start).clamp(min=1e-6)[:, None]  # [N, 1]
    position = (pixels - start[:, None]) / extent * cells - 0.5  # [N, length], in cells
    distance = position[..., None] - torch.arange(cells, device=start.device)  # [N, length, cells]
    return (1 - distance.abs()).clamp(min=0)
