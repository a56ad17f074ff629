"""Region Proposal Network (Ren et al. 2015, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.detection.anchors import AnchorGenerator
from resnet_backbone.detection.init import init_normal
from resnet_backbone.detection.losses import box_regression_loss
from resnet_backbone.detection.matching import gather_rows, match, random_order, sample
from resnet_backbone.detection.nms import grouped_nms
from resnet_backbone.structures import Targets

OFFSET_WEIGHTS: box_ops.Weights = (1.0, 1.0, 1.0, 1.0)
SAMPLING_STREAM = 0


@dataclass(frozen=True)
class Proposals:
    """Regions that may hold an object, best first.

    Attributes:
        boxes: float32[B, P, 4], clipped to the image; zeros where not valid.
        scores: float32[B, P], objectness logits; -inf where not valid.
        valid: bool[B, P].
    """

    boxes: Tensor
    scores: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Predictions:
    """What the head says of every anchor of an image, A anchors over all feature maps.

    Attributes:
        anchors: Per feature map float32[A_l, 4].
        logits: Per feature map [B, A_l], objectness.
        offsets: Per feature map [B, A_l, 4].
    """

    anchors: Sequence[Tensor]
    logits: Sequence[Tensor]
    offsets: Sequence[Tensor]


class RPN(nn.Module):
    """Scores and adjusts anchors, and hands on the best.

    Args:
        channels: Of the feature maps.
        anchors: Their generator.
        iou_thresholds: Overlap below which an anchor is background, and from which foreground.
        samples_per_image: Anchors that the loss sees.
        positive_fraction: At most so much of them is foreground.
        pre_nms_topk: Anchors per feature map that are decoded, (training, evaluation).
        post_nms_topk: Proposals per image, (training, evaluation).
        nms_threshold: Overlap above which the lower-scored proposal goes.
        min_box_size: Proposals need sides longer than this, in pixels.
    """

    def __init__(
        self,
        channels: int,
        anchors: AnchorGenerator,
        *,
        iou_thresholds: tuple[float, float] = (0.3, 0.7),
        samples_per_image: int = 256,
        positive_fraction: float = 0.5,
        pre_nms_topk: tuple[int, int] = (2000, 1000),
        post_nms_topk: tuple[int, int] = (1000, 1000),
        nms_threshold: float = 0.7,
        min_box_size: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors.per_cell, 1)
        self.offsets = nn.Conv2d(channels, anchors.per_cell * 4, 1)
        init_normal(self.conv, self.objectness, self.offsets, std=0.01)
        self.anchors = anchors
        self.iou_thresholds = iou_thresholds
        self.samples_per_image = samples_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = pre_nms_topk
        self.post_nms_topk = post_nms_topk
        self.nms_threshold = nms_threshold
        self.min_box_size = min_box_size

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Returns the predictions for feature maps [B, C, H_l, W_l]."""
        logits, offsets = [], []
        for feature in features:
            hidden = F.relu_(self.conv(feature))
            # In channels_last memory these permutations move nothing.
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            by_cell = self.offsets(hidden).permute(0, 2, 3, 1)
            offsets.append(by_cell.reshape(len(by_cell), -1, 4))
        return Predictions(self.anchors(features), logits, offsets)

    @torch.no_grad()
    def propose(self, predictions: Predictions, sizes: Tensor) -> Proposals:
        """Returns the best proposals after suppression of duplicates.

        Only the top-scored anchors are decoded, a few per cent of all.

        Args:
            predictions: As returned by `forward`.
            sizes: int64[B, 2], (height, width) of the images.
        """
        pre_nms, post_nms = (
            (self.pre_nms_topk[0], self.post_nms_topk[0])
            if self.training
            else (self.pre_nms_topk[1], self.post_nms_topk[1])
        )
        scores, boxes, levels = self._best_per_level(predictions, pre_nms)
        boxes = box_ops.clip(boxes, sizes[:, None])
        sides = boxes[..., 2:] - boxes[..., :2]
        valid = (sides > self.min_box_size).all(dim=-1) & boxes.isfinite().all(dim=-1)
        kept = self._suppress(boxes, scores, levels, valid & scores.isfinite())
        ranked, order = torch.where(kept, scores, -torch.inf).topk(min(post_nms, scores.shape[1]))
        found = ranked > -torch.inf
        best = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return Proposals(best.masked_fill(~found[..., None], 0.0), ranked, found)

    def losses(self, predictions: Predictions, targets: Targets) -> dict[str, Tensor]:
        """Returns the sums over sampled anchors, divided by the number asked for, as 0-dim tensors.

        `loss_rpn_cls` is binary cross-entropy of the objectness, `loss_rpn_loc` the L1 distance of
        the offsets of foreground anchors. Both have the same divisor, samples_per_image * B
        (detectron2/modeling/proposal_generator/rpn.py, RPN.losses).
        """
        anchors = torch.cat(list(predictions.anchors))
        logits = torch.cat(list(predictions.logits), dim=1)
        offsets = torch.cat(list(predictions.offsets), dim=1)
        with torch.no_grad():
            low, high = self.iou_thresholds
            iou = box_ops.pairwise_iou(targets.boxes, anchors[None])
            matches = match(iou, targets.valid, low=low, high=high, keep_best=True)
            chosen = sample(
                matches.labels,
                random_order(targets.keys, len(anchors), SAMPLING_STREAM),
                count=self.samples_per_image,
                positive_fraction=self.positive_fraction,
            )
        entropy = F.binary_cross_entropy_with_logits(
            logits.gather(1, chosen.indices).float(), chosen.positive.float(), reduction="none"
        )
        # Foreground comes first in a sample: the columns after its quota cannot hold any.
        quota = max(1, int(self.samples_per_image * self.positive_fraction))
        indices, positive = chosen.indices[:, :quota], chosen.positive[:, :quota]
        distance = box_regression_loss(
            gather_rows(offsets, indices),
            anchors[indices],
            gather_rows(targets.boxes, matches.targets.gather(1, indices)),
            positive,
            OFFSET_WEIGHTS,
        )
        divisor = self.samples_per_image * len(logits)
        return {
            "loss_rpn_cls": (entropy * chosen.valid).sum() / divisor,
            "loss_rpn_loc": distance / divisor,
        }

    def _best_per_level(
        self, predictions: Predictions, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns scores [B, K], decoded boxes [B, K, 4] and feature map numbers [K]."""
        scores, boxes, levels = [], [], []
        maps = zip(predictions.anchors, predictions.logits, predictions.offsets, strict=True)
        for level, (anchors, logits, offsets) in enumerate(maps):
            best, indices = logits.float().topk(min(count, logits.shape[1]))
            scores.append(best)
            boxes.append(
                box_ops.decode(gather_rows(offsets, indices), anchors[indices], OFFSET_WEIGHTS)
            )
            levels.append(torch.full_like(indices[0], level))
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1), torch.cat(levels)

    def _suppress(self, boxes: Tensor, scores: Tensor, levels: Tensor, valid: Tensor) -> Tensor:
        """Returns bool[B, K]: what survives among the valid boxes of the same image and level."""
        images = torch.arange(len(boxes), device=boxes.device)[:, None]
        maps = len(self.anchors.strides)
        # What is not valid gets a group of its own, where it can suppress nothing that matters.
        groups = images * (maps + 1) + torch.where(valid, levels, maps)
        finite = torch.where(valid[..., None], boxes, 0.0).flatten(0, 1)
        indices = grouped_nms(finite, scores.flatten(), groups.flatten(), self.nms_threshold)
        kept = torch.zeros_like(valid).flatten().index_fill_(0, indices, True)
        return kept.view_as(valid) & valid
