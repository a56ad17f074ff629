"""Between instance masks at image size and the small squares that the mask head works on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.ops import roi_align

from resnet_backbone.structures import InstanceMask

# Pixels that `paste` interpolates at a time: 16 MiB of float32, which the allocator reuses.
PASTE_CHUNK = 2**22


def rasterize(masks: Sequence[InstanceMask], boxes: Tensor, resolution: int) -> Tensor:
    """Returns bool[R, resolution, resolution]: each mask as seen through its box.

    Polygons are scaled to the square and filled by COCO's own rasteriser, as detectron2 does
    (structures/masks.py, rasterize_polygons_within_box), which keeps their exact corners; bitmaps
    are resampled bilinearly (BitMasks.crop_and_resize). Runs on the host.

    Args:
        masks: One per box.
        boxes: float32[R, 4] in pixels of the masks, on the host.
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
    # 0.1 px keeps the scale finite for boxes without area.
    scale = resolution / np.maximum(box[2:] - box[:2], 0.1)
    corners = [((polygon - box[:2]) * scale).ravel() for polygon in polygons]
    runs = coco_mask.frPyObjects(corners, resolution, resolution)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def _resample(bitmap: np.ndarray, box: np.ndarray, resolution: int) -> np.ndarray:
    image = torch.from_numpy(bitmap)[None, None].float()
    region = torch.tensor([[0.0, *box]], dtype=torch.float32)
    return (roi_align(image, region, resolution, 1.0, 0, aligned=True) >= 0.5).numpy()[0, 0]


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Returns bool[N, height, width]: each square stretched over its box and cut at `threshold`.

    Bilinear interpolation with zeros outside, sampled at pixel centres (detectron2/layers/
    mask_ops.py). Interpolation is separable, so it is two small matrix products for all instances
    together, with no loop over instances.

    Args:
        masks: float[N, M, M], probabilities.
        boxes: float32[N, 4] in pixels of the result.
        size: (height, width) of the result.
        threshold: Probability from which a pixel belongs to the instance.
    """
    height, width = size
    pasted = torch.empty((len(masks), height, width), dtype=torch.bool, device=masks.device)
    chunk = max(1, PASTE_CHUNK // max(1, height * width))
    for start in range(0, len(masks), chunk):
        part = slice(start, start + chunk)
        rows = _interpolation(boxes[part, 1], boxes[part, 3], height, masks.shape[1])
        columns = _interpolation(boxes[part, 0], boxes[part, 2], width, masks.shape[2])
        values = rows @ masks[part].float() @ columns.transpose(1, 2)
        torch.ge(values, threshold, out=pasted[part])
    return pasted


def _interpolation(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Returns float32[N, length, cells]: the weight of each mask cell in each pixel, a tent."""
    pixels = torch.arange(length, device=start.device) + 0.5
    # A box thinner than this has no pixel centre inside anyway.
    extent = (end - start).clamp(min=1e-6)[:, None]
    position = (pixels - start[:, None]) / extent * cells - 0.5
    distance = position[..., None] - torch.arange(cells, device=start.device)
    return (1 - distance.abs()).clamp(min=0)
