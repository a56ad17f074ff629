"""Faster R-CNN and Mask R-CNN: from pixels to losses or detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.detection.box_head import ScoredBoxes
from resnet_backbone.detection.masks import paste
from resnet_backbone.detection.roi_heads import RoIHeads
from resnet_backbone.detection.rpn import RPN
from resnet_backbone.structures import Batch, Detections


class RCNN(nn.Module):
    """Backbone, neck, RPN and RoI heads.

    Args:
        backbone: Maps float32[B, 3, H, W] to a dictionary of feature maps.
        neck: Maps that dictionary to the list of feature maps that the RPN uses (`FPN` or
            `TakeStage`).
        rpn: The region proposal network.
        roi_heads: Classifies, refines and segments the proposals. It gets as many of the neck's
            first feature maps as its poolers have levels.
        pixel_mean: Subtracted from the pixels (0 to 255); three numbers in `channel_order`.
        pixel_std: The pixels are divided by it; three numbers in `channel_order`.
        channel_order: The channel order that the backbone expects; batches are always RGB.
        size_divisor: Height and width of the padded images must be multiples of it: 32 for FPN,
            whose upsampled maps must have exactly the size of the next finer ones; 1 otherwise.
            More padding than necessary changes the results, since there are anchors on it too.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        rpn: RPN,
        roi_heads: RoIHeads,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        channel_order: Literal["RGB", "BGR"] = "RGB",
        size_divisor: int = 1,
    ) -> None:
        super().__init__()
        self.size_divisor = size_divisor
        self.backbone = backbone
        self.neck = neck
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.channel_order = channel_order
        mean, std = torch.tensor(pixel_mean), torch.tensor(pixel_std)
        self.register_buffer("pixel_mean", mean[:, None, None], persistent=False)
        self.register_buffer("pixel_scale", 1.0 / std[:, None, None], persistent=False)

    @property
    def num_classes(self) -> int:
        """Number of foreground classes."""
        return self.roi_heads.predictor.num_classes

    def forward(self, batch: Batch) -> dict[str, Tensor] | list[Detections]:
        """Returns `losses(batch)` in training mode and `detect(batch)` in evaluation mode."""
        return self.losses(batch) if self.training else self.detect(batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of a batch with targets, 0-dim float32 each; their sum is the loss.

        `loss_rpn_cls`, `loss_rpn_loc`, `loss_cls`, `loss_box_reg` and, for Mask R-CNN, `loss_mask`.

        Raises:
            ValueError: there are no targets, or `size_divisor` does not divide the images' sides.
        """
        if batch.targets is None:
            raise ValueError("losses need a batch with targets")
        features = self._features(batch)
        predictions = self.rpn(features)
        losses = self.rpn.losses(predictions, batch.targets)
        proposals = self.rpn.propose(predictions, batch.sizes)
        return losses | self.roi_heads.losses(self._pooled_maps(features), proposals, batch.targets)

    @torch.no_grad()
    def detect(self, batch: Batch) -> list[Detections]:
        """Returns the detections of each image, in pixels of the original image.

        Raises:
            ValueError: `size_divisor` does not divide the images' sides.
        """
        features = self._features(batch)
        proposals = self.rpn.propose(self.rpn(features), batch.sizes)
        found, masks = self.roi_heads.detect(self._pooled_maps(features), proposals, batch.sizes)
        return _per_image(found, masks, batch)

    def normalize(self, batch: Batch) -> Tensor:
        """Returns the normalised images, float32[B, 3, H, W], with zeros in the padding.

        This is the only place where pixels are shifted, scaled or reordered.
        """
        images = batch.images if self.channel_order == "RGB" else batch.images.flip(1)
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device) < batch.sizes[:, :1]  # [B, H]
        columns = torch.arange(width, device=images.device) < batch.sizes[:, 1:]  # [B, W]
        inside = (rows[:, None, :, None] & columns[:, None, None, :]).float()  # [B, 1, H, W]
        return ((images.float() - self.pixel_mean) * self.pixel_scale).mul_(inside)

    def _features(self, batch: Batch) -> Sequence[Tensor]:
        """Returns the neck's feature maps, finest first."""
        height, width = batch.images.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            raise ValueError(
                f"found images of {height} x {width} pixels, expected multiples of "
                f"{self.size_divisor}; collate with size_divisor={self.size_divisor}"
            )
        return self.neck(self.backbone(self.normalize(batch)))

    def _pooled_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Returns the feature maps to pool regions from; P6 is only for the RPN."""
        return list(features[: len(self.roi_heads.box_pooler.align.strides)])


class TakeStage(nn.Module):
    """The neck of C4 and DC5, which only selects one stage of the backbone."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns a list with the feature map of that stage."""
        return [features[self.stage]]


def _per_image(found: ScoredBoxes, masks: Tensor | None, batch: Batch) -> list[Detections]:
    """Splits a batch's detections by image, and scales them to the original images."""
    device = batch.sizes.device
    # Without blocking, these few bytes are copied while the device works on.
    originals = torch.tensor(batch.original_sizes).to(device, non_blocking=True)  # [B, 2]
    scale = (originals.double() / batch.sizes).float().flip(1).repeat(1, 2)  # [B, 4]
    boxes = box_ops.clip(found.boxes * scale[found.images], originals[found.images])  # [N, 4]
    # Boxes without area are left out. Asking for them once, instead of choosing rows by a mask on
    # the device, lets the host wait once, and not for every tensor.
    solid = (boxes[:, 2:] > boxes[:, :2]).all(dim=1).tolist()
    rows = torch.tensor([row for row, is_solid in enumerate(solid) if is_solid], dtype=torch.int64)
    rows = rows.to(device, non_blocking=True)
    ends = list(accumulate(found.counts))
    counts = [sum(solid[end - n : end]) for end, n in zip(ends, found.counts, strict=True)]
    by_image = [
        values[rows].split(counts) if values is not None else (None,) * len(counts)
        for values in (boxes, found.scores, found.classes, masks)
    ]
    detections = []
    for index, (own, scores, classes, squares) in enumerate(zip(*by_image, strict=True)):
        size = batch.original_sizes[index]
        pasted = None if squares is None else paste(squares, own, size)
        detections.append(Detections(batch.image_ids[index], size, own, scores, classes, pasted))
    return detections
