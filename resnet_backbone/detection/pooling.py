"""RoIAlign on the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resnet_backbone.detection.roi_align import roi_align

# A region of 224 x 224 pixels, ImageNet's crop size, is pooled from P4 (Lin et al. 2017, eq. 1).
CANONICAL_SIZE = 224
CANONICAL_LEVEL = 4


class MultiLevelRoIAlign(nn.Module):
    """Pools each region from the level that suits its size.

    With half-pixel alignment and an adaptive number of samples per bin (detectron2's ROIAlignV2
    with sampling ratio 0).

    Args:
        resolution: Height and width of the result.
        strides: Stride of each level in pixels, finest first.
    """

    def __init__(self, resolution: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.resolution = resolution
        self.strides = tuple(strides)

    def forward(self, features: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """Returns [R, C, resolution, resolution].

        Args:
            features: One map [B, C, H, W] per level.
            boxes: float32[R, 4], xyxy in pixels; a box without area gives zeros.
            images: int64[R], index of each region's image.
        """
        rois = torch.cat((images[:, None].to(boxes.dtype), boxes), dim=1)  # [R, 5]
        if len(features) == 1:
            return self._align(features[0], rois, self.strides[0])
        if boxes.is_cuda:
            return self._pool_all(features, rois, self._levels(boxes))
        return self._pool_selected(features, rois, self._levels(boxes))

    def _pool_all(self, features: Sequence[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        """Pools all regions from every level, with the regions of other levels shrunk to size 0.

        On a GPU an empty region costs only a write of zeros, while selecting the regions of a level
        would require a host synchronisation to learn their number.
        """
        parts = []
        for level, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            # [R, 5]; the first column, the image's index, is kept.
            own = (levels == level)[:, None] | (torch.arange(5, device=rois.device) == 0)
            parts.append(self._align(feature, rois * own, stride))
        return torch.stack(parts).sum(dim=0)

    def _pool_selected(self, features: Sequence[Tensor], rois: Tensor, levels: Tensor) -> Tensor:
        """Sorts the regions by level, pools each level's own regions, and restores the order."""
        order = levels.argsort(stable=True)  # [R]
        counts = torch.bincount(levels, minlength=len(self.strides)).tolist()
        groups = zip(features, rois[order].split(counts), self.strides, strict=True)
        pooled = torch.cat([self._align(*group) for group in groups])
        # Whole rows move, in the gradient too, which is three times as fast as by an index.
        return pooled.index_select(0, order.argsort())

    def _align(self, feature: Tensor, rois: Tensor, stride: int) -> Tensor:
        return roi_align(feature, rois, self.resolution, 1.0 / stride)

    def _levels(self, boxes: Tensor) -> Tensor:
        """Returns int64[R], index of the level of each box (Lin et al. 2017, equation 1)."""
        width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).unbind(dim=1)  # [R] each
        size = torch.sqrt(width * height)
        # 4 is added before rounding down, as in detectron2 (modeling/poolers.py): in float32, the
        # sum takes sizes one rounding step below 112, 224 and 448 to the level above.
        level = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE + 1e-8))
        finest = self.strides[0].bit_length() - 1  # 2 for P2, whose stride is 4
        return (level - finest).clamp(0, len(self.strides) - 1).long()
