"""The heads applied to each region: sampling, pooling, box branch and mask branch."""

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
    """Pools regions and, in C4, applies res5 to each (as Ren et al. 2015 apply conv5).

    Args:
        align: Pools from one or more feature maps.
        res5: The backbone's last stage, or None.
    """

    def __init__(self, align: MultiLevelRoIAlign, res5: nn.Module | None = None) -> None:
        super().__init__()
        self.align = align
        self.res5 = res5

    def forward(self, features: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """Returns [R, C, H, W] for boxes float32[R, 4] in the images int64[R]."""
        regions = self.align(features, boxes, images)
        if self.res5 is None:
            return regions
        return self.res5(regions.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class RoISettings:
    """Thresholds and counts of the heads; `config.schema.RoIConfig` describes the fields."""

    samples_per_image: int = 512
    positive_fraction: float = 0.25
    iou_threshold: float = 0.5
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100


class RoIHeads(nn.Module):
    """The second stage of Faster R-CNN and Mask R-CNN.

    Args:
        box_pooler: Pools the regions for the box branch.
        box_head: Maps a pooled region to a feature vector.
        predictor: Maps the vector to class scores and box deltas.
        settings: Thresholds and counts.
        mask_pooler: Pools the regions for the mask branch; None uses the regions of the box branch
            (C4).
        mask_head: Predicts masks; None for Faster R-CNN.
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
        """Returns `loss_cls`, `loss_box_reg` and, with a mask head, `loss_mask`, 0-dim each."""
        regions = self.sample(proposals, targets)  # S regions per image
        batch, count = regions.valid.shape
        # [B, S], index of each region's image
        images = torch.arange(batch, device=regions.boxes.device)[:, None].expand(-1, count)
        pooled = self.box_pooler(features, regions.boxes.flatten(0, 1), images.flatten())
        logits, offsets = self.predictor(self.box_head(pooled))  # [B * S, ...]
        counts = torch.stack((regions.valid.sum(), regions.positive.sum()))  # [2]
        counts = mean_over_ranks(counts) if self.training else counts.clamp(min=1).float()
        losses = self.predictor.losses(logits, offsets, regions, counts[0])
        if self.mask_head is not None:
            regions_loss = self._mask_loss(self.mask_head, features, pooled, regions, targets)
            losses["loss_mask"] = regions_loss / counts[1]
        return losses

    @torch.no_grad()
    def sample(self, proposals: Proposals, targets: Targets) -> SampledRegions:
        """Samples the regions for the losses from the proposals and the ground-truth boxes.

        The ground-truth boxes are added to provide good regions early in training, when there are
        few good proposals (detectron2's PROPOSAL_APPEND_GT).
        """
        boxes = torch.cat((proposals.boxes, targets.boxes), dim=1)  # [B, N, 4] with N = P + G
        valid = torch.cat((proposals.valid, targets.valid), dim=1)  # [B, N]
        threshold = self.settings.iou_threshold
        blocks = box_ops.iou_in_blocks(targets.boxes, boxes)  # [B, g, N] each
        matches = match(blocks, targets.valid, low=threshold, high=threshold)  # [B, N]
        chosen = sample(  # [B, S]
            matches.labels.masked_fill(~valid, -1),
            random_order(targets.keys, boxes.shape[1], SAMPLING_STREAM),
            count=self.settings.samples_per_image,
            positive_fraction=self.settings.positive_fraction,
        )
        instances = matches.targets.gather(1, chosen.indices)  # [B, S]
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
        """Returns the N detections and, with a mask head, their masks as float32[N, M, M].

        Args:
            features: Feature maps, float[B, C, H, W] each.
            proposals: The proposals of the same images.
            sizes: int64[B, 2], (height, width) of the images.
        """
        batch, count = proposals.valid.shape
        images = torch.arange(batch, device=sizes.device)[:, None].expand(-1, count)  # [B, P]
        pooled = self.box_pooler(features, proposals.boxes.flatten(0, 1), images.flatten())
        logits, offsets = self.predictor(self.box_head(pooled))  # [B * P, ...]
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
        """Returns the mask loss summed over the foreground regions, 0-dim.

        It contains the training step's only host synchronisation, to learn which regions are
        foreground: COCO's rasteriser needs their boxes on the host. In return the mask head, which
        is half of the step's arithmetic, runs only on the F foreground regions instead of on the
        maximum number of them.
        """
        images, slots = regions.positive.nonzero(as_tuple=True)  # [F] each
        boxes, classes = regions.boxes[images, slots], regions.classes[images, slots]
        if self.mask_pooler is None:
            own = pooled[images * regions.valid.shape[1] + slots]  # [F, C, H, W]
        else:
            own = self.mask_pooler(features, boxes, images)
        logits = mask_head(own, classes)  # [F, M, M]
        instances = regions.instances[images, slots]  # [F]
        chosen = zip(images.tolist(), instances.tolist(), strict=True)
        masks = [targets.masks[image][instance] for image, instance in chosen]
        truth = rasterize(masks, boxes.cpu(), logits.shape[-1]).to(logits.device, non_blocking=True)
        return mask_loss(logits, truth)
