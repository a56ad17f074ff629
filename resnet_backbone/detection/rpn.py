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
from resnet_backbone.detection.nms import suppress
from resnet_backbone.structures import Targets

OFFSET_WEIGHTS: box_ops.Weights = (1.0, 1.0, 1.0, 1.0)
SAMPLING_STREAM = 0


@dataclass(frozen=True)
class Proposals:
    """Regions that may contain an object, best first.

    Attributes:
        boxes: float32[B, P, 4], xyxy in pixels, clipped to the image; zeros where not valid.
        scores: float32[B, P], objectness logits; -inf where not valid.
        valid: bool[B, P], false for padding.
    """

    boxes: Tensor
    scores: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Predictions:
    """The head's output for every anchor; feature map l has A_l anchors.

    Attributes:
        anchors: Per feature map, float32[A_l, 4], xyxy in pixels.
        logits: Per feature map, float[B, A_l], objectness.
        offsets: Per feature map, float[B, A_l, 4], box deltas.
    """

    anchors: Sequence[Tensor]
    logits: Sequence[Tensor]
    offsets: Sequence[Tensor]


class RPN(nn.Module):
    """Scores and refines anchors, and returns the best as proposals.

    Args:
        channels: Channels of the feature maps.
        anchors: The anchor generator.
        iou_thresholds: (low, high): anchors with IoU below low are background, with IoU of at least
            high foreground, and in between ignored.
        samples_per_image: Number of anchors in the loss, per image.
        positive_fraction: Maximum fraction of foreground among them.
        pre_nms_topk: Anchors per feature map that are decoded, in (training, evaluation).
        post_nms_topk: Proposals per image, in (training, evaluation).
        nms_threshold: IoU above which the proposal with the lower score is removed.
        min_box_size: Proposals whose width or height is not larger are removed, in pixels.
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
        """Returns the predictions for feature maps float[B, C, H_l, W_l]."""
        logits, offsets = [], []
        for feature in features:
            hidden = F.relu_(self.conv(feature))  # [B, C, H_l, W_l]
            # [B, A, H_l, W_l] -> [B, A_l]; in channels_last memory this copies nothing.
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            by_cell = self.offsets(hidden).permute(0, 2, 3, 1)  # [B, H_l, W_l, A * 4]
            offsets.append(by_cell.reshape(len(by_cell), -1, 4))  # [B, A_l, 4]
        return Predictions(self.anchors(features), logits, offsets)

    @torch.no_grad()
    def propose(self, predictions: Predictions, sizes: Tensor) -> Proposals:
        """Returns the best proposals after non-maximum suppression.

        Only the anchors with the highest scores are decoded, a few per cent of all.

        Args:
            predictions: The result of `forward`.
            sizes: int64[B, 2], (height, width) of the images.
        """
        pre_nms, post_nms = (
            (self.pre_nms_topk[0], self.post_nms_topk[0])
            if self.training
            else (self.pre_nms_topk[1], self.post_nms_topk[1])
        )
        # [B, K] and [B, K, 4], the K_l best anchors of each level; their sum is K
        scores, boxes, counts = self._best_per_level(predictions, pre_nms)
        boxes = box_ops.clip(boxes, sizes[:, None])
        sides = boxes[..., 2:] - boxes[..., :2]  # [B, K, 2]
        valid = (sides > self.min_box_size).all(dim=-1) & boxes.isfinite().all(dim=-1)  # [B, K]
        valid &= scores.isfinite()
        kept = _within_levels(boxes, scores, valid, counts, self.nms_threshold)  # [B, K]
        # [B, P] each
        ranked, order = torch.where(kept, scores, -torch.inf).topk(min(post_nms, scores.shape[1]))
        found = ranked > -torch.inf
        best = boxes.gather(1, order[..., None].expand(-1, -1, 4))  # [B, P, 4]
        return Proposals(best.masked_fill(~found[..., None], 0.0), ranked, found)

    def losses(self, predictions: Predictions, targets: Targets) -> dict[str, Tensor]:
        """Returns the losses summed over the sampled anchors and divided by their nominal number.

        `loss_rpn_cls` is the binary cross-entropy of the objectness, `loss_rpn_loc` the L1 distance
        of the box deltas of foreground anchors, 0-dim each. Both have the same divisor,
        samples_per_image * B (detectron2/modeling/proposal_generator/rpn.py, RPN.losses).
        """
        anchors = torch.cat(list(predictions.anchors))  # [A, 4], of all feature maps
        logits = torch.cat(list(predictions.logits), dim=1)  # [B, A]
        offsets = torch.cat(list(predictions.offsets), dim=1)  # [B, A, 4]
        with torch.no_grad():
            low, high = self.iou_thresholds
            blocks = box_ops.iou_in_blocks(targets.boxes, anchors[None])  # [B, g, A] each
            matches = match(blocks, targets.valid, low=low, high=high, keep_best=True)  # [B, A]
            chosen = sample(  # [B, S]
                matches.labels,
                random_order(targets.keys, len(anchors), SAMPLING_STREAM),
                count=self.samples_per_image,
                positive_fraction=self.positive_fraction,
            )
        entropy = F.binary_cross_entropy_with_logits(  # [B, S]
            logits.gather(1, chosen.indices).float(), chosen.positive.float(), reduction="none"
        )
        # Foreground comes first in a sample, so columns beyond its quota Q cannot contain any.
        quota = max(1, int(self.samples_per_image * self.positive_fraction))
        indices, positive = chosen.indices[:, :quota], chosen.positive[:, :quota]  # [B, Q]
        distance = box_regression_loss(
            gather_rows(offsets, indices),  # [B, Q, 4]
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
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Returns scores [B, K] and decoded boxes [B, K, 4], and how many each level has of K."""
        scores, boxes = [], []
        maps = zip(predictions.anchors, predictions.logits, predictions.offsets, strict=True)
        for anchors, logits, offsets in maps:
            best, indices = logits.float().topk(min(count, logits.shape[1]))
            scores.append(best)
            boxes.append(
                box_ops.decode(gather_rows(offsets, indices), anchors[indices], OFFSET_WEIGHTS)
            )
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1), [s.shape[1] for s in scores]


def _within_levels(
    boxes: Tensor, scores: Tensor, valid: Tensor, counts: Sequence[int], threshold: float
) -> Tensor:
    """Returns bool[B, K], true for valid boxes that survive NMS in their image and level."""
    longest = max(counts)

    def by_level(values: Tensor) -> Tensor:
        """[B, K, ...] -> [B * levels, longest, ...], padded with zeros."""
        padded = values.new_zeros(len(values), len(counts), longest, *values.shape[2:])
        for level, part in enumerate(values.split(counts, dim=1)):
            padded[:, level, : part.shape[1]] = part
        return padded.flatten(0, 1)

    kept = suppress(by_level(boxes), by_level(scores), by_level(valid), threshold)
    levels = kept.view(len(boxes), len(counts), longest).unbind(dim=1)
    return torch.cat([own[:, :count] for own, count in zip(levels, counts, strict=True)], dim=1)
