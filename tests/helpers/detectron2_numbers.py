"""The numbers of parity_cases, computed by detectron2's models. Imports detectron2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import detectron2
import numpy as np
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torchvision.ops import boxes as box_ops

CONFIGS = Path(detectron2.__file__).parents[1] / "configs"


@torch.no_grad()
def their_numbers(model: nn.Module, inputs: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Returns everything compared at inference, as `parity_cases.our_numbers` does."""
    model.eval()
    images = model.preprocess_image(inputs)
    maps = model.backbone(images.tensor)
    features = getattr(model.backbone, "bottom_up", model.backbone)(images.tensor)
    generator = model.proposal_generator
    proposals, _ = generator(images, maps)
    anchors = generator.anchor_generator([maps[name] for name in generator.in_features])
    numbers = {f"feature/{name}": feature.numpy() for name, feature in features.items()}
    numbers |= {f"anchors/{i}": boxes.tensor.numpy() for i, boxes in enumerate(anchors)}
    for row, (found, proposed) in enumerate(zip(model(inputs), proposals, strict=True)):
        numbers[f"proposals/{row}"] = proposed.proposal_boxes.tensor.numpy()
        numbers[f"objectness/{row}"] = proposed.objectness_logits.numpy()
        numbers |= _detections(found["instances"], row)
    return numbers


def _detections(instances: Instances, row: int) -> dict[str, np.ndarray]:
    numbers = {
        f"boxes/{row}": instances.pred_boxes.tensor.numpy(),
        f"scores/{row}": instances.scores.numpy(),
        f"classes/{row}": instances.pred_classes.numpy(),
    }
    if instances.has("pred_masks"):
        numbers[f"masks/{row}"] = instances.pred_masks.numpy()
    return numbers


def their_losses(model: nn.Module, inputs: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Returns the training losses, with gradients, sampled in order."""
    rpn = "detectron2.modeling.proposal_generator.rpn.subsample_labels"
    heads = "detectron2.modeling.roi_heads.roi_heads.subsample_labels"
    with EventStorage(0), mock.patch(rpn, _lowest_indices), mock.patch(heads, _lowest_indices):
        return model.train()(inputs)


def suppress_in_float64():
    """Lets their RPN run in float64 inside a `with` block: they cast boxes, but not scores."""

    def batched_nms(boxes: Tensor, scores: Tensor, levels: Tensor, threshold: float) -> Tensor:
        return box_ops.batched_nms(boxes.double(), scores.double(), levels, threshold)

    return mock.patch(
        "detectron2.modeling.proposal_generator.proposal_utils.batched_nms", batched_nms
    )


def _lowest_indices(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Stands in for `subsample_labels`: the same candidates as `parity_cases.lowest_first`."""
    positive = torch.nonzero((labels != -1) & (labels != bg_label))[:, 0]
    negative = torch.nonzero(labels == bg_label)[:, 0]
    count = min(len(positive), int(num_samples * positive_fraction))
    return positive[:count], negative[: num_samples - count]
