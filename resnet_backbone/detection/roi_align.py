"""RoIAlign (He et al. 2017, section 3) with half-pixel alignment and adaptive sampling.

On CUDA this calls torchvision's kernel. torchvision's CPU kernel has a single-threaded backward
pass that recomputes every interpolation weight for every channel, and can take a third of a
training step. But RoIAlign is a product with a sparse matrix: each bin of each region is a weighted
sum of a few cells. In this form the weights are computed once and memory is read in whole
channels_last pixels. Moreover it is exactly a weighted sum of embedding rows, for which torch has a
parallel kernel for both forward and backward pass.

In the shapes below, R is the number of regions, P the number of bins per side, and T the number of
(bin, cell) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor


def roi_align(feature: Tensor, rois: Tensor, resolution: int, scale: float) -> Tensor:
    """Returns [R, C, resolution, resolution], each bin the mean of bilinear samples inside it.

    Equals `torchvision.ops.roi_align(..., sampling_ratio=0, aligned=True)`: the number of samples
    of a bin in each direction is its extent in cells, rounded up. Regions without area give zeros.

    Args:
        feature: float[B, C, H, W].
        rois: float32[R, 5], (index in the batch, x0, y0, x1, y1) in pixels of the image.
        resolution: Number of bins per side, P.
        scale: Cells per pixel, that is, 1 / stride.
    """
    if feature.is_cuda:
        return _by_kernel(feature, rois, resolution, scale)
    _, channels, height, width = feature.shape
    columns = _taps(rois[:, 1] * scale - 0.5, rois[:, 3] * scale - 0.5, width, resolution)
    rows = _taps(rois[:, 2] * scale - 0.5, rois[:, 4] * scale - 0.5, height, resolution)
    # cells [T], weights [T], offsets [R * P * P]
    cells, weights, offsets = _outer(rows, columns, rois[:, 0].long() * height, width)
    table = feature.permute(0, 2, 3, 1).reshape(-1, channels)  # [B * H * W, C]
    bins = F.embedding_bag(  # [R * P * P, C]
        cells, table, offsets, mode="sum", per_sample_weights=weights.to(feature.dtype)
    )
    return bins.view(len(rois), resolution, resolution, channels).permute(0, 3, 1, 2)


def _by_kernel(feature: Tensor, rois: Tensor, resolution: int, scale: float) -> Tensor:
    """Calls torchvision's kernel in float32, whatever the feature's dtype, as autocast does.

    The kernel requires one dtype for both inputs; bfloat16 would move a corner at 1000 px by up to
    2 px.
    """
    full = feature.float()
    pooled = torchvision.ops.roi_align(full, rois.float(), resolution, scale, 0, aligned=True)
    return pooled.to(feature.dtype)


@dataclass(frozen=True)
class _Taps:
    """For one axis: the interval of cells that each bin of each region samples, with weights.

    Attributes:
        first: int64[R, P], the first cell of the interval.
        count: int64[R, P], the number of cells in the interval.
        weights: float32[R, P, length], the weight of every cell on the axis; 0 outside of the
            interval. The weights of a bin sum to 1, or less at the border.
    """

    first: Tensor
    count: Tensor
    weights: Tensor


def _taps(start: Tensor, end: Tensor, length: int, bins: int) -> _Taps:
    """Samples an axis of `length` cells in `bins` equal bins from `start` to `end`, float32[R]."""
    extent = end - start  # [R]
    samples = torch.ceil(extent / bins)  # [R], samples per bin
    most = max(1, int(samples.max())) if len(samples) else 1  # K
    step = torch.arange(most, device=start.device)  # [K]
    # Sample k of bin p is at start + (p + (k + 1/2) / samples) * extent / bins.
    inside = (step + 0.5) / samples.clamp(min=1)[:, None]  # [R, K]
    bin_start = torch.arange(bins, device=start.device)[None, :, None]  # [1, P, 1]
    # [R, P, K]
    position = start[:, None, None] + (bin_start + inside[:, None]) * (extent / bins)[:, None, None]
    used = (step < samples[:, None])[:, None] & (position >= -1) & (position <= length)
    position = position.clamp(0, length - 1)
    low = position.floor().long()  # [R, P, K], the cell below the sample
    share = used / samples.clamp(min=1)[:, None, None]  # [R, P, K], weight of the sample
    upper = (position - low) * share  # [R, P, K], the part of it that goes to cell low + 1
    weights = position.new_zeros(len(start), bins, length)  # [R, P, length]
    weights.scatter_add_(2, low, share - upper)
    weights.scatter_add_(2, (low + 1).clamp(max=length - 1), upper)
    touched = weights > 0
    return _Taps(touched.int().argmax(dim=2), touched.sum(dim=2), weights)


def _outer(
    rows: _Taps, columns: _Taps, first_row: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Combines both axes into a sparse matrix: the cells and weights of every bin.

    Args:
        rows: Taps along the vertical axis.
        columns: Taps along the horizontal axis.
        first_row: int64[R], index of the first row of each region's image, if the rows of all
            images are numbered consecutively.
        width: Cells per row.

    Returns:
        int32[T] cells and float32[T] weights, bin after bin, and int32[R * P * P], where each bin
        starts in them.
    """
    bins, height = rows.weights.shape[1:]
    row_start = first_row[:, None] + rows.first  # [R, P]

    def spread_rows(values: Tensor) -> Tensor:
        """[R, P] per row of bins -> int32[R * P * P] per bin."""
        return values[:, :, None].expand(-1, -1, bins).reshape(-1).int()

    def spread_columns(values: Tensor) -> Tensor:
        """[R, P] per column of bins -> int32[R * P * P] per bin."""
        return values[:, None].expand(-1, bins, -1).reshape(-1).int()

    across = spread_columns(columns.count)  # [R * P * P], width of each bin in cells
    counts = spread_rows(rows.count) * across  # [R * P * P], number of cells of each bin
    offsets = (counts.cumsum(0) - counts).int()  # [R * P * P]
    bin_index = torch.repeat_interleave(counts)  # [T], the bin of each pair
    within = torch.arange(len(bin_index), dtype=torch.int32) - offsets[bin_index]  # [T]
    across = across[bin_index]  # [T]
    y, x = within // across, within % across  # [T] each, relative to the bin's first cell

    first_cell = spread_rows(row_start * width) + spread_columns(columns.first)  # [R * P * P]
    cells = first_cell[bin_index] + y * width + x  # [T], indices into [B * H * W]
    # [R, P] each: index of a bin's first weight in the flattened weights [R, P, length].
    row_weight = torch.arange(rows.first.numel()).view_as(rows.first) * height + rows.first
    column_weight = torch.arange(columns.first.numel()).view_as(columns.first) * width
    column_weight = column_weight + columns.first
    weights = rows.weights.view(-1)[spread_rows(row_weight)[bin_index] + y]  # [T]
    weights *= columns.weights.view(-1)[spread_columns(column_weight)[bin_index] + x]
    return cells, weights, offsets
