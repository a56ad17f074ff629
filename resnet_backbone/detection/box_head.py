"""The box branch: from a pooled region to class scores and adjusted boxes (Fast R-CNN)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.detection.init import init_normal, init_xavier
from resnet_backbone.detection.losses import box_regression_loss
from resnet_backbone.detection.nms import grouped_nms


class FCHead(nn.Module):
    """Fully connected layers over a flattened region (detectron2's FastRCNNConvFCHead).

    Args:
        in_features: Channels times height times width of a region.
        width: Of every layer.
        layers: How many.
    """

    def __init__(self, in_features: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [in_features, *[width] * layers]
        linears = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        init_xavier(*linears)
        self.fcs = nn.ModuleList(linears)
        self.out_features = widths[-1]

    def forward(self, regions: Tensor) -> Tensor:
        """Returns [R, out_features] for regions [R, C, H, W]."""
        x = regions.flatten(1)
        for layer in self.fcs:
            x = F.relu_(layer(x))
        return x


class MeanHead(nn.Module):
    """Global average pooling, which follows res5 in C4 (the ResNet paper, appendix A)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_features = channels

    def forward(self, regions: Tensor) -> Tensor:
        """Returns [R, C] for regions [R, C, H, W]."""
        return regions.mean(dim=(2, 3))


class BoxPredictor(nn.Module):
    """Two linear layers: class logits, background last, and offsets per foreground class.

    Args:
        in_features: Width of the input.
        num_classes: Foreground classes.
        offset_weights: As in `boxes.encode`.
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
        """Returns logits [R, num_classes + 1] and offsets [R, num_classes, 4] for x [R, D]."""
        return self.classifier(x), self.regressor(x).view(len(x), self.num_classes, 4)

    def losses(
        self, logits: Tensor, offsets: Tensor, regions: SampledRegions, count: Tensor
    ) -> dict[str, Tensor]:
        """Returns `loss_cls` and `loss_box_reg`, 0-dim, both divided by `count`.

        That the L1 distance is divided by the number of all regions, not of the foreground ones,
        keeps every region's weight the same (detectron2/modeling/roi_heads/fast_rcnn.py).

        Args:
            logits: [B * S, num_classes + 1].
            offsets: [B * S, num_classes, 4].
            regions: What the rows are.
            count: 0-dim, the valid regions that the mean is taken over.
        """
        entropy = (
            F.cross_entropy(logits.float(), regions.classes.flatten(), reduction="none")
            * regions.valid.flatten()
        )
        own_class = regions.classes.flatten().clamp(max=self.num_classes - 1)
        own_offsets = offsets[torch.arange(len(offsets), device=offsets.device), own_class]
        distance = box_regression_loss(
            own_offsets.view_as(regions.boxes),
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
        """Returns the best boxes after suppression within each class.

        Args:
            logits: [B * P, num_classes + 1].
            offsets: [B * P, num_classes, 4].
            boxes: float32[B, P, 4], the proposals.
            valid: bool[B, P].
            sizes: int64[B, 2], (height, width) of the images.
            score_threshold: Only scores above it, with finite offsets, are decoded.
            nms_threshold: Overlap above which the lower score goes.
            limit: Detections per image.
        """
        batch, per_image = valid.shape
        scores = logits.float().softmax(dim=-1)[:, :-1] * valid.flatten()[:, None]
        # A box that is not a number can be neither suppressed nor pooled from.
        passing = (scores > score_threshold) & offsets.isfinite().all(dim=-1)
        # The only question to the device: how many scores pass. The answer bounds all that follows.
        rows, classes = passing.nonzero(as_tuple=True)
        images = rows.div(per_image, rounding_mode="floor")
        found = box_ops.decode(
            offsets[rows, classes], boxes.flatten(0, 1)[rows], self.offset_weights
        )
        found = box_ops.clip(found, sizes[images])
        scores = scores[rows, classes]
        kept = grouped_nms(found, scores, images * self.num_classes + classes, nms_threshold)
        kept = _best_per_image(images, scores, kept, batch, limit)
        return ScoredBoxes(found[kept], scores[kept], classes[kept], images[kept])


@dataclass(frozen=True)
class SampledRegions:
    """S proposals of each image with what they should become; foreground first.

    Attributes:
        boxes: float32[B, S, 4].
        classes: int64[B, S]; num_classes for background.
        targets: float32[B, S, 4], ground-truth box; meaningful where positive.
        instances: int64[B, S], index of the ground truth; meaningful where positive.
        positive: bool[B, S].
        valid: bool[B, S].
    """

    boxes: Tensor
    classes: Tensor
    targets: Tensor
    instances: Tensor
    positive: Tensor
    valid: Tensor


@dataclass(frozen=True)
class ScoredBoxes:
    """Detections of a whole batch, image by image, best first, in pixels of the network's input.

    Attributes:
        boxes: float32[N, 4].
        scores: float32[N].
        classes: int64[N].
        images: int64[N], index in the batch, ascending.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    images: Tensor


def _best_per_image(images: Tensor, scores: Tensor, kept: Tensor, batch: int, limit: int) -> Tensor:
    """Returns of the indices `kept` the `limit` best-scored of every image, image by image."""
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    per_image = [kept[images[kept] == image][:limit] for image in range(batch)]
    return torch.cat(per_image)
