"""The box branch: from pooled regions to class scores and refined boxes (Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.detection.init import init_normal, init_xavier
from resnet_backbone.detection.losses import box_regression_loss
from resnet_backbone.detection.nms import suppress


class FCHead(nn.Module):
    """Fully connected layers on a flattened region (detectron2's FastRCNNConvFCHead).

    Args:
        in_features: Channels times height times width of a pooled region.
        width: Output features of every layer.
        layers: Number of layers.
    """

    def __init__(self, in_features: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [in_features, *[width] * layers]
        linears = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        init_xavier(*linears)
        self.fcs = nn.ModuleList(linears)
        self.out_features = widths[-1]

    def forward(self, regions: Tensor) -> Tensor:
        """Maps pooled regions [R, C, H, W] to [R, out_features]."""
        x = regions.flatten(1)  # [R, C * H * W]
        for layer in self.fcs:
            x = F.relu_(layer(x))
        return x


class MeanHead(nn.Module):
    """Global average pooling, which follows res5 in C4 (the ResNet paper, appendix A)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, regions: Tensor) -> Tensor:
        """Maps pooled regions [R, C, H, W] to [R, C]."""
        return regions.mean(dim=(2, 3))


class BoxPredictor(nn.Module):
    """Two linear layers: class logits (background is the last class), and box deltas per class.

    Args:
        in_features: Input features.
        num_classes: Number of foreground classes.
        offset_weights: Factors of the box deltas, as in `boxes.encode`.
    """

    def __init__(self, in_features: int, num_classes: int, offset_weights: box_ops.Weights) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.offset_weights = offset_weights
        self.classifier = nn.Linear(in_features, num_classes + 1)
        self.regressor = nn.Linear(in_features, num_classes * 4)
        init_normal(self.classifier, std=0.01)
        init_normal(self.regressor, std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps x [R, D] to logits [R, num_classes + 1] and offsets [R, num_classes, 4]."""
        return self.classifier(x), self.regressor(x).view(len(x), self.num_classes, 4)

    def losses(
        self, logits: Tensor, offsets: Tensor, regions: SampledRegions, count: Tensor
    ) -> dict[str, Tensor]:
        """Returns `loss_cls` and `loss_box_reg`, 0-dim, both divided by `count`.

        The L1 distance is divided by the number of all regions rather than the foreground ones, so
        that every region has the same weight (detectron2/modeling/roi_heads/fast_rcnn.py).

        Args:
            logits: float[B * S, num_classes + 1].
            offsets: float[B * S, num_classes, 4], box deltas.
            regions: The S sampled regions of each image.
            count: 0-dim, number of valid regions over which to average.
        """
        entropy = (  # [B * S], 0 for invalid regions
            F.cross_entropy(logits.float(), regions.classes.flatten(), reduction="none")
            * regions.valid.flatten()
        )
        # [B * S]; background is clamped to any class, since its offsets do not count.
        own_class = regions.classes.flatten().clamp(max=self.num_classes - 1)
        own_offsets = offsets[torch.arange(len(offsets), device=offsets.device), own_class]
        distance = box_regression_loss(
            own_offsets.view_as(regions.boxes),  # [B * S, 4] -> [B, S, 4]
            regions.boxes,
            regions.targets,
            regions.positive,
            self.offset_weights,
        )
        return {"loss_cls": entropy.sum() / count, "loss_box_reg": distance / count}

    def detect(
        self,
        logits: Tensor,
        offsets: Tensor,
        boxes: Tensor,
        valid: Tensor,
        sizes: Tensor,
        *,
        score_threshold: float,
        nms_threshold: float,
        limit: int,
    ) -> ScoredBoxes:
        """Returns the best boxes after non-maximum suppression within each class.

        Args:
            logits: float[B * P, num_classes + 1].
            offsets: float[B * P, num_classes, 4], box deltas.
            boxes: float32[B, P, 4], the proposals, xyxy in pixels.
            valid: bool[B, P], false for padding.
            sizes: int64[B, 2], (height, width) of the images.
            score_threshold: Only boxes with a higher score, and with finite offsets, are decoded.
            nms_threshold: IoU above which the box with the lower score is removed.
            limit: Maximum number of detections per image.
        """
        batch, per_image = valid.shape
        # From here on [B, C, P, ...]: the groups of suppression are the classes of an image.
        scores = logits.float().softmax(dim=-1)[:, :-1].view(batch, per_image, -1).transpose(1, 2)
        offsets = offsets.view(batch, per_image, -1, 4).transpose(1, 2)
        found = box_ops.decode(offsets, boxes[:, None], self.offset_weights)
        found = box_ops.clip(found, sizes[:, None, None])
        # NaN boxes can neither be suppressed nor pooled.
        passing = (scores > score_threshold) & valid[:, None] & offsets.isfinite().all(dim=-1)
        kept = suppress(
            found.flatten(0, 1), scores.flatten(0, 1), passing.flatten(0, 1), nms_threshold
        )
        # [B, C * P], best first; a stable order, so that of equal scores the first class remains
        ranked, order = (
            torch.where(kept.view_as(scores), scores, -torch.inf)
            .flatten(1)
            .sort(dim=1, descending=True, stable=True)
        )
        # The only host synchronisation: how many detections each image has.
        counts = (ranked[:, :limit] > -torch.inf).sum(dim=1).tolist()
        return _rows(counts, found.flatten(1, 2), ranked, order, per_image)


@dataclass(frozen=True)
class SampledRegions:
    """S sampled proposals of each image with their targets; foreground comes first.

    Attributes:
        boxes: float32[B, S, 4], xyxy in pixels.
        classes: int64[B, S]; num_classes for background.
        targets: float32[B, S, 4], the ground-truth box; only defined where positive.
        instances: int64[B, S], index of the ground truth; only defined where positive.
        positive: bool[B, S], true for foreground.
        valid: bool[B, S], false for padding.
    """

    boxes: Tensor
    classes: Tensor
    targets: Tensor
    instances: Tensor
    positive: Tensor
    valid: Tensor


@dataclass(frozen=True)
class ScoredBoxes:
    """Detections of a batch, image by image, best first, in pixels of the network's input.

    Attributes:
        boxes: float32[N, 4], xyxy.
        scores: float32[N].
        classes: int64[N].
        images: int64[N], index of the image in the batch, ascending.
        counts: The number of detections of each image.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    images: Tensor
    counts: Sequence[int]


def _rows(
    counts: Sequence[int], boxes: Tensor, ranked: Tensor, order: Tensor, per_image: int
) -> ScoredBoxes:
    """Returns the first `counts[b]` of the M candidates of each image b, one after the other.

    Args:
        counts: Detections of each image.
        boxes: float32[B, M, 4], class by class and `per_image` of each.
        ranked: float32[B, M], scores, best first.
        order: int64[B, M], where in `boxes` each of `ranked` is.
        per_image: Boxes of each class.
    """
    chosen = [order[image, :count] for image, count in enumerate(counts)]
    return ScoredBoxes(
        boxes=torch.cat([boxes[image, own] for image, own in enumerate(chosen)]),
        scores=torch.cat([ranked[image, :count] for image, count in enumerate(counts)]),
        classes=torch.cat(chosen).div(per_image, rounding_mode="floor"),
        images=torch.cat([own.new_full(own.shape, i) for i, own in enumerate(chosen)]),
        counts=counts,
    )
