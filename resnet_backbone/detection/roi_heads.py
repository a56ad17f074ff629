"""What happens to each region: sampling, pooling, the box branch and the mask branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_backbone.detection import boxes as box_ops
from resnet_backbone.detection.box_head import BoxPredictor, SampledRegions, ScoredBoxes
from resnet_backbone.detection.losses import mean_over_ranks
from resnet_backbone.detection.mask_head import MaskHead, mask_loss
from resnet_backbone.detection.masks import rasterize
from resnet_backbone.detection.matching import gather_rows, match, random_order, sample
from resnet_backbone.detection.pooling import MultiLevelRoIAlign
from resnet_backbone.detection.rpn import Proposals
from resnet_backbone.structures import Targets

SAMPLING_STREAM = 1


class RegionPooler(nn.Module):
    """Pools regions and, in C4, runs res5 on each (Ren et al. 2015 put conv5 there).

    Args:
        align: Pools from one or several feature maps.
        res5: The backbone's last stage, or None.
    """

    def __init__(self, align: MultiLevelRoIAlign, res5: nn.Module | None = None) -> None:
        super().__init__()
        self.align = align
        self.res5 = res5

    def forward(self, features: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """Returns [R, C, H, W] for boxes [R, 4] of images int64[R]."""
        regions = self.align(features, boxes, images)
        if self.res5 is None:
            return regions
        return self.res5(regions.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class RoISettings:
    """The numbers of the per-region heads; see config.schema.RoIConfig for their meaning."""

    samples_per_image: int = 512
    positive_fraction: float = 0.25
    iou_threshold: float = 0.5
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100


class RoIHeads(nn.Module):
    """The second stage of Faster and Mask R-CNN.

    Args:
        box_pooler: Gives the regions of the box branch.
        box_head: Turns a region into a vector.
        predictor: Turns the vector into scores and offsets.
        settings: Thresholds and counts.
        mask_pooler: Gives the regions of the mask branch; None shares those of the box branch (C4).
        mask_head: None for Faster R-CNN.
    """

    def __init__(
        self,
        box_pooler: RegionPooler,
        box_head: nn.Module,
        predictor: BoxPredictor,
        settings: RoISettings,
        mask_pooler: RegionPooler | None = None,
        mask_head: MaskHead | None = None,
    ) -> None:
        super().__init__()
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.predictor = predictor
        self.settings = settings
        self.mask_pooler = mask_pooler
        self.mask_head = mask_head

    def losses(
        self, features: Sequence[Tensor], proposals: Proposals, targets: Targets
    ) -> dict[str, Tensor]:
        """Returns `loss_cls`, `loss_box_reg` and, with a mask head, `loss_mask`, 0-dim."""
        regions = self.sample(proposals, targets)
        batch, count = regions.valid.shape
        images = torch.arange(batch, device=regions.boxes.device)[:, None].expand(-1, count)
        pooled = self.box_pooler(features, regions.boxes.flatten(0, 1), images.flatten())
        logits, offsets = self.predictor(self.box_head(pooled))
        counts = torch.stack((regions.valid.sum(), regions.positive.sum()))
        counts = mean_over_ranks(counts) if self.training else counts.clamp(min=1).float()
        losses = self.predictor.losses(logits, offsets, regions, counts[0])
        if self.mask_head is not None:
            regions_loss = self._mask_loss(self.mask_head, features, pooled, regions, targets)
            losses["loss_mask"] = regions_loss / counts[1]
        return losses

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> SampledRegions:
        """Returns the regions that the losses see; the ground-truth boxes stand for election too.

        Appending them gives the heads perfect regions early in training, when there are few good
        proposals (detectron2's PROPOSAL_APPEND_GT).
        """
        boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)
        valid = torch.cat((proposals.valid, targets.valid), dim=1)
        threshold = self.settings.iou_threshold
        iou = box_ops.pairwise_iou(targets.boxes, boxes)
        matches = match(iou, targets.valid, low=threshold, high=threshold)
        chosen = sample(
            matches.labels.masked_fill(~valid, -1),
            random_order(targets.keys, boxes.shape[1], SAMPLING_STREAM),
            count=self.settings.samples_per_image,
            positive_fraction=self.settings.positive_fraction,
        )
        instances = matches.targets.gather(1, chosen.indices)
        background = self.predictor.num_classes
        return SampledRegions(
            boxes=gather_rows(boxes, chosen.indices),
            classes=targets.classes.gather(1, instances).masked_fill(~chosen.positive, background),
            targets=gather_rows(targets.boxes, instances),
            instances=instances,
            positive=chosen.positive,
            valid=chosen.valid,
        )

    def detect(
        self, features: Sequence[Tensor], proposals: Proposals, sizes: Tensor
    ) -> tuple[ScoredBoxes, Tensor | None]:
        """Returns the detections and, with a mask head, probabilities float32[N, M, M].

        Args:
            features: Maps [B, C, H, W].
            proposals: Of the same images.
            sizes: int64[B, 2], (height, width) of the images.
        """
        batch, count = proposals.valid.shape
        images = torch.arange(batch, device=sizes.device)[:, None].expand(-1, count)
        pooled = self.box_pooler(features, proposals.boxes.flatten(0, 1), images.flatten())
        logits, offsets = self.predictor(self.box_head(pooled))
        found = self.predictor.detect(
            logits,
            offsets,
            proposals.boxes,
            proposals.valid,
            sizes,
            score_threshold=self.settings.score_threshold,
            nms_threshold=self.settings.nms_threshold,
            limit=self.settings.detections_per_image,
        )
        if self.mask_head is None:
            return found, None
        pooler = self.mask_pooler or self.box_pooler
        regions = pooler(features, found.boxes, found.images)
        return found, self.mask_head(regions, found.classes).sigmoid()

    def _mask_loss(
        self,
        mask_head: MaskHead,
        features: Sequence[Tensor],
        pooled: Tensor,
        regions: SampledRegions,
        targets: Targets,
    ) -> Tensor:
        """Returns the summed mask loss of the foreground regions, 0-dim.

        Holds the step's one question to the device: which regions are foreground.

        COCO's rasteriser needs their boxes on the host; in return the mask head, half of the step's
        arithmetic, runs on the foreground alone instead of on its quota.
        """
        images, slots = regions.positive.nonzero(as_tuple=True)
        boxes, classes = regions.boxes[images, slots], regions.classes[images, slots]
        if self.mask_pooler is None:
            own = pooled[images * regions.valid.shape[1] + slots]
        else:
            own = self.mask_pooler(features, boxes, images)
        logits = mask_head(own, classes)
        instances = regions.instances[images, slots]
        chosen = zip(images.tolist(), instances.tolist(), strict=True)
        masks = [targets.masks[image][instance] for image, instance in chosen]
        truth = rasterize(masks, boxes.cpu(), logits.shape[-1]).to(logits.device, non_blocking=True)
        return mask_loss(logits, truth)
