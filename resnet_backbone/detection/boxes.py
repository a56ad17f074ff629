"""Box arithmetic. Boxes are `(x0, y0, x1, y1)` in pixels, in the last dimension of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_backbone.utils.constants import constant

# Limit of a predicted log-size before exp, so that one bad value cannot make an infinite box: an
# anchor of 16 px grows to at most 1000 px (detectron2/modeling/box_regression.py).
SCALE_CLAMP = math.log(1000.0 / 16)

# Pairs of boxes that are compared at once: 134 MB in float32, and three such tensors at the peak.
MAX_PAIRS = 2**25

Weights = tuple[float, float, float, float]


def area(boxes: Tensor) -> Tensor:
    """Returns the areas [...] of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns the IoU [..., N, M] of all pairs of first [..., N, 4] and second [..., M, 4].

    The IoU of boxes without overlap, or without area, is 0. Operations are in place because the
    result is the largest tensor of target assignment: 200,000 anchors per ground-truth box.
    """
    a, b = first.unsqueeze(-2), second.unsqueeze(-3)  # [..., N, 1, 4] and [..., 1, M, 4]
    overlap = torch.minimum(a[..., 2], b[..., 2])  # [..., N, M], first width, then area
    overlap -= torch.maximum(a[..., 0], b[..., 0])
    overlap.clamp_(min=0)
    height = torch.minimum(a[..., 3], b[..., 3])  # [..., N, M]
    height -= torch.maximum(a[..., 1], b[..., 1])
    overlap *= height.clamp_(min=0)
    union = torch.sub(area(a) + area(b), overlap, out=height)
    # Without overlap the union may be 0 as well; dividing by 1 instead keeps the result 0.
    return overlap.div_(union.masked_fill_(overlap == 0, 1.0))


def iou_in_blocks(objects: Tensor, boxes: Tensor, max_pairs: int = MAX_PAIRS) -> Iterator[Tensor]:
    """Yields the IoU of all pairs, float32[B, g, N], of a few objects at a time.

    At once, 16 images with 300 objects and 268,000 anchors would take 15 GB.

    Args:
        objects: [B, G, 4].
        boxes: [B, N, 4], or [1, N, 4] for the same boxes in every image.
        max_pairs: Maximum B * g * N, with at least one object per block.
    """
    at_once = max(1, max_pairs // max(1, len(objects) * boxes.shape[1]))
    for part in objects.split(at_once, dim=1):
        yield pairwise_iou(part, boxes)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Returns boxes [..., 4] clipped to images of sizes [..., 2], each (height, width)."""
    height, width = sizes[..., 0], sizes[..., 1]
    limit = torch.stack((width, height, width, height), dim=-1).to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limit)


def encode(targets: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Returns the box deltas [..., 4] that turn anchors [..., 4] into targets [..., 4].

    These are the shift of the centre divided by the anchor's size, and the logarithm of the size
    ratio, times `weights` (Girshick et al. 2014, appendix C, equations 6 to 9). Anchors and targets
    must have positive sizes.
    """
    anchor_centre, anchor_size = _centre_and_size(anchors)
    target_centre, target_size = _centre_and_size(targets)
    shift = (target_centre - anchor_centre) / anchor_size
    offsets = torch.cat((shift, torch.log(target_size / anchor_size)), dim=-1)
    return offsets * constant(weights, offsets.device, offsets.dtype)


def decode(offsets: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Applies box deltas [..., 4] to anchors [..., 4]; returns boxes float32[..., 4].

    The inverse of `encode`, with log-sizes limited to `SCALE_CLAMP`.
    """
    offsets = offsets.float() / constant(weights, offsets.device)
    centre, size = _centre_and_size(anchors.float())  # [..., 2] each
    centre = centre + offsets[..., :2] * size
    half = 0.5 * size * torch.exp(offsets[..., 2:].clamp(max=SCALE_CLAMP))  # [..., 2]
    return torch.cat((centre - half, centre + half), dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size
