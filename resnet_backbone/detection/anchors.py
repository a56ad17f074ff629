"""Anchor boxes on a grid (Faster R-CNN, section 3.1.1), computed once per feature size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class AnchorGenerator:
    """Makes the anchors of every feature map; unrounded, offset 0, as detectron2 does.

    Args:
        strides: Pixels per cell of each feature map.
        sizes: Per feature map the square roots of the anchor areas, in pixels; one entry alone
            serves all maps.
        aspect_ratios: Height over width.
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
        """Returns per feature map [B, C, H, W] its anchors, float32[H * W * A, 4].

        The order is row, column, size, aspect ratio. The result is shared between calls: do not
        write to it.
        """
        shapes = tuple((f.shape[-2], f.shape[-1]) for f in features)
        key = (shapes, features[0].device)
        if key not in self._cache:
            if len(self._cache) >= 64:  # images of many sizes: forget rather than grow for ever
                self._cache.clear()
            grids = zip(shapes, self.strides, self._cells, strict=True)
            self._cache[key] = [_tile(*grid).to(features[0].device) for grid in grids]
        return self._cache[key]


def _cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Returns anchors float32[A, 4] centred on the origin."""
    boxes = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            boxes.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(boxes)


def _tile(shape: tuple[int, int], stride: int, cell: Tensor) -> Tensor:
    y, x = torch.meshgrid(
        torch.arange(0, shape[0] * stride, stride, dtype=torch.float32),
        torch.arange(0, shape[1] * stride, stride, dtype=torch.float32),
        indexing="ij",
    )
    corners = torch.stack((x, y, x, y), dim=-1)
    return (corners[:, :, None] + cell).reshape(-1, 4)
