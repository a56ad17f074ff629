"""Anchor boxes on a grid (Faster R-CNN, section 3.1.1), computed once per feature map size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_backbone.utils.constants import constant


class AnchorGenerator:
    """Generates the anchors of each feature map; not rounded and with offset 0, as in detectron2.

    Args:
        strides: Stride of each feature map, in pixels.
        sizes: Square roots of the anchor areas in pixels, per feature map; a single entry applies
            to all feature maps.
        aspect_ratios: Height / width of the anchors.
    """

    def __init__(
        self,
        strides: Sequence[int],
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float],
    ) -> None:
        if len(sizes) == 1:
            sizes = list(sizes) * len(strides)
        if len(sizes) != len(strides):
            raise ValueError(f"{len(sizes)} tuples of anchor sizes for {len(strides)} feature maps")
        self.strides = tuple(strides)
        self.per_cell = len(sizes[0]) * len(aspect_ratios)
        if any(len(level) * len(aspect_ratios) != self.per_cell for level in sizes):
            raise ValueError("all feature maps need the same number of anchors per cell")
        self._cells = [_cell_anchors(level, aspect_ratios) for level in sizes]
        self._cache: dict[tuple[tuple[tuple[int, int], ...], torch.device], list[Tensor]] = {}

    def __call__(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Returns the anchors of each feature map [B, C, H, W], float32[H * W * A, 4].

        They are ordered by row, column, size, aspect ratio. The tensors are shared between calls,
        so do not write to them.
        """
        shapes = tuple((f.shape[-2], f.shape[-1]) for f in features)
        key = (shapes, features[0].device)
        if key not in self._cache:
            if len(self._cache) >= 64:  # bounded, as there may be images of very many sizes
                del self._cache[next(iter(self._cache))]  # the oldest
            grids = zip(shapes, self.strides, self._cells, strict=True)
            self._cache[key] = [_tile(*grid, features[0].device) for grid in grids]
        return self._cache[key]


def _cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> tuple[float, ...]:
    """Returns the coordinates of the anchors of one cell, one after the other."""
    boxes: list[float] = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            boxes += (-width / 2, -height / 2, width / 2, height / 2)
    return tuple(boxes)


def _tile(
    shape: tuple[int, int], stride: int, cell: tuple[float, ...], device: torch.device
) -> Tensor:
    """Moves a cell's anchors to every cell of a feature map; returns [H * W * A, 4].

    On the device itself, which the host would wait for if it sent them.
    """
    y, x = torch.meshgrid(  # [H, W] each
        torch.arange(0, shape[0] * stride, stride, dtype=torch.float32, device=device),
        torch.arange(0, shape[1] * stride, stride, dtype=torch.float32, device=device),
        indexing="ij",
    )
    corners = torch.stack((x, y, x, y), dim=-1)  # [H, W, 4]
    own = constant(cell, device).view(-1, 4)  # [A, 4], centred on the origin
    return (corners[:, :, None] + own).reshape(-1, 4)  # [H, W, A, 4] -> [H * W * A, 4]
