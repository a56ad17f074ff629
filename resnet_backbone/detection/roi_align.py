"""RoIAlign (He et al. 2017, section 3) with half-pixel alignment and adaptive sampling.

On CUDA torchvision's kernel does it. Its CPU kernel has a backward pass on one thread that computes
every interpolation weight anew for every channel, and can be a third of a training step. But
RoIAlign is a sparse matrix: each bin of each region is a weighted sum of a few cells. As such it
needs the weights once, runs over whole channels_last pixels, and is exactly the weighted sum of
embedding rows for which torch has a parallel kernel in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor


def roi_align(feature: Tensor, rois: Tensor, resolution: int, scale: float) -> Tensor:
    """Returns [R, C, resolution, resolution], each bin the mean of bilinear samples inside it.

    Equals `torchvision.ops.roi_align(..., sampling_ratio=0, aligned=True)`: a bin has as many
    samples in each direction as it spans cells, rounded up; a region without area gives zeros.

    Args:
        feature: [B, C, H, W].
        rois: float32[R, 5], (index in the batch, x0, y0, x1, y1) in pixels of the image.
        resolution: Bins per side.
        scale: Cells per pixel.
    """
    if feature.is_cuda:
        return _by_kernel(feature, rois, resolution, scale)
    _, channels, height, width = feature.shape
    columns = _taps(rois[:, 1] * scale - 0.5, rois[:, 3] * scale - 0.5, width, resolution)
    rows = _taps(rois[:, 2] * scale - 0.5, rois[:, 4] * scale - 0.5, height, resolution)
    cells, weights, offsets = _outer(rows, columns, rois[:, 0].long() * height, width)
    table = feature.permute(0, 2, 3, 1).reshape(-1, channels)
    bins = F.embedding_bag(
        cells, table, offsets, mode="sum", per_sample_weights=weights.to(feature.dtype)
    )
    return bins.view(len(rois), resolution, resolution, channels).permute(0, 3, 1, 2)


def _by_kernel(feature: Tensor, rois: Tensor, resolution: int, scale: float) -> Tensor:
    """Calls torchvision's kernel in float32 whatever the feature is, as autocast does.

    The kernel wants one type for both; bfloat16 would move a corner at 1000 px by up to 2 px.
    """
    full = feature.float()
    pooled = torchvision.ops.roi_align(full, rois.float(), resolution, scale, 0, aligned=True)
    return pooled.to(feature.dtype)


@dataclass(frozen=True)
class _Taps:
    """Along one axis, the cells that each bin of each region draws from: an interval.

    Attributes:
        first: int64[R, P], the first cell.
        count: int64[R, P], how many.
        weights: float32[R, P, length], dense over the axis; they sum to 1, or less at the border.
    """

    first: Tensor
    count: Tensor
    weights: Tensor


def _taps(start: Tensor, end: Tensor, length: int, bins: int) -> _Taps:
    """Returns where `bins` equal bins between `start` and `end`, float32[R], sample the axis."""
    extent = end - start
    samples = torch.ceil(extent / bins)
    most = max(1, int(samples.max())) if len(samples) else 1
    step = torch.arange(most, device=start.device)
    # Sample k of bin p lies at start + (p + (k + 1/2) / samples) * extent / bins.
    inside = (step + 0.5) / samples.clamp(min=1)[:, None]
    bin_start = torch.arange(bins, device=start.device)[None, :, None]
    position = start[:, None, None] + (bin_start + inside[:, None]) * (extent / bins)[:, None, None]
    used = (step < samples[:, None])[:, None] & (position >= -1) & (position <= length)
    position = position.clamp(0, length - 1)
    low = position.floor().long()
    share = used / samples.clamp(min=1)[:, None, None]
    upper = (position - low) * share
    weights = position.new_zeros(len(start), bins, length)
    weights.scatter_add_(2, low, share - upper)
    weights.scatter_add_(2, (low + 1).clamp(max=length - 1), upper)
    touched = weights > 0
    return _Taps(touched.int().argmax(dim=2), touched.sum(dim=2), weights)


def _outer(
    rows: _Taps, columns: _Taps, first_row: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the bins' cells and weights, one bin after the other, and where each bin starts.

    Args:
        rows: Taps along the vertical axis.
        columns: Taps along the horizontal axis.
        first_row: int64[R], where each region's image starts in the stack of all images' rows.
        width: Cells per row.

    Returns:
        int32[T], float32[T] and int32[R * P * P].
    """
    bins, height = rows.weights.shape[1:]
    row_start = first_row[:, None] + rows.first

    def spread_rows(values: Tensor) -> Tensor:
        return values[:, :, None].expand(-1, -1, bins).reshape(-1).int()

    def spread_columns(values: Tensor) -> Tensor:
        return values[:, None].expand(-1, bins, -1).reshape(-1).int()

    across = spread_columns(columns.count)
    counts = spread_rows(rows.count) * across
    offsets = (counts.cumsum(0) - counts).int()
    bin_index = torch.repeat_interleave(counts)
    within = torch.arange(len(bin_index), dtype=torch.int32) - offsets[bin_index]
    across = across[bin_index]
    y, x = within // across, within % across

    first_cell = spread_rows(row_start * width) + spread_columns(columns.first)
    cells = first_cell[bin_index] + y * width + x
    # Index of each bin's first weight in the flattened dense weights.
    row_weight = torch.arange(rows.first.numel()).view_as(rows.first) * height + rows.first
    column_weight = torch.arange(columns.first.numel()).view_as(columns.first) * width
    column_weight = column_weight + columns.first
    weights = rows.weights.view(-1)[spread_rows(row_weight)[bin_index] + y]
    weights *= columns.weights.view(-1)[spread_columns(column_weight)[bin_index] + x]
    return cells, weights, offsets
