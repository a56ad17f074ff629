"""Box arithmetic. Boxes are `(x0, y0, x1, y1)` in pixels, in the last dimension of a tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp of a predicted log-size is cut here, so that one bad logit cannot make an infinite box:
# an anchor of 16 px grows to at most 1000 px (detectron2/modeling/box_regression.py).
SCALE_CLAMP = math.log(1000.0 / 16)

Weights = tuple[float, float, float, float]


def area(boxes: Tensor) -> Tensor:
    """Returns the areas, [...], of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Returns intersection over union, [..., N, M], of first [..., N, 4] and second [..., M, 4].

    Pairs without overlap, and boxes without area, have 0. Written in place because the result is
    the largest tensor of target assignment: 200,000 anchors for every ground-truth box.
    """
    a, b = first.unsqueeze(-2), second.unsqueeze(-3)
    overlap = torch.minimum(a[..., 2], b[..., 2])
    overlap -= torch.maximum(a[..., 0], b[..., 0])
    overlap.clamp_(min=0)
    height = torch.minimum(a[..., 3], b[..., 3])
    height -= torch.maximum(a[..., 1], b[..., 1])
    overlap *= height.clamp_(min=0)
    union = torch.sub(area(a) + area(b), overlap, out=height)
    # Where there is no overlap the union may be 0 too; dividing by 1 there leaves the 0.
    return overlap.div_(union.masked_fill_(overlap == 0, 1.0))


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Returns boxes [..., 4] cut to images of sizes [..., 2], each (height, width)."""
    height, width = sizes[..., 0], sizes[..., 1]
    limit = torch.stack((width, height, width, height), dim=-1).to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limit)


def encode(targets: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Returns the offsets, [..., 4], that turn anchors [..., 4] into targets [..., 4].

    Centre shifts relative to the anchor's size and logarithms of size ratios, times `weights`
    (Girshick et al. 2014, appendix C, equations 6 to 9). Anchors and targets need positive sizes.
    """
    anchor_centre, anchor_size = _centre_and_size(anchors)
    target_centre, target_size = _centre_and_size(targets)
    shift = (target_centre - anchor_centre) / anchor_size
    offsets = torch.cat((shift, torch.log(target_size / anchor_size)), dim=-1)
    return offsets * offsets.new_tensor(weights)


def decode(offsets: Tensor, anchors: Tensor, weights: Weights) -> Tensor:
    """Returns the boxes, float32[..., 4], that offsets [..., 4] make of anchors [..., 4].

    The inverse of `encode`, with log-sizes cut at `SCALE_CLAMP`.
    """
    offsets = offsets.float() / torch.tensor(weights, device=offsets.device)
    centre, size = _centre_and_size(anchors.float())
    centre = centre + offsets[..., :2] * size
    half = 0.5 * size * torch.exp(offsets[..., 2:].clamp(max=SCALE_CLAMP))
    return torch.cat((centre - half, centre + half), dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size
