"""The same detector, with equal weights and inputs, as we and the peers build it.

Shared by the parity tests and the benchmarks. Random weights would give an untypical number of
proposals and no detections; `fill` draws weights that give about a thousand proposals and many
detections. They come from numpy, each tensor's from a stream of its own, so that they depend on
neither torch's version nor the order of modules.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_backbone.config.load import load_config
from resnet_backbone.data.coco.batch import collate_samples
from resnet_backbone.detection.build import build_detector
from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.structures import Batch, Sample
from resnet_backbone.weights.layouts import from_ours

# Our configuration and detectron2's, below its configs folder, of the same detector.
DETECTRON2_CONFIGS = {
    "coco_mrcnn_r50": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "coco_frcnn_r50_c4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "coco_mrcnn_r50_c4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "coco_frcnn_r50_dc5": "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml",
}

# Standard deviation of the last layers' weights relative to 1 / sqrt(fan_in): what makes scores
# spread and boxes move a little.
SPREAD = {
    "rpn.objectness.weight": 1.0,
    "rpn.offsets.weight": 0.1,
    "roi_heads.predictor.classifier.weight": 2.0,
    "roi_heads.predictor.regressor.weight": 0.5,
    "roi_heads.mask_head.predictor.weight": 2.0,
}


def build_ours(name: str, overrides: tuple[str, ...] = ()) -> RCNN:
    """Returns our detector of that configuration, for COCO's 80 classes, filled by `fill`."""
    cfg = load_config(name, ["model.backbone.weights=null", *overrides])
    model = build_detector(cfg, num_classes=80)
    fill(model)
    return model


def fill(model: nn.Module) -> None:
    """Draws all weights and normalisation statistics, each from a stream named after it."""
    state = model.state_dict()
    model.load_state_dict({name: _draw(name, tensor) for name, tensor in state.items()})


def _draw(name: str, like: Tensor) -> Tensor:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    shape = tuple(like.shape)
    if name.endswith("running_var"):
        values = rng.uniform(0.6, 1.4, shape)
    elif name.endswith("running_mean") or name.endswith("bias"):
        values = rng.normal(0, 0.1, shape)
    elif like.ndim == 1:  # scale of a normalisation; small at the end of a residual branch
        last = re.search(r"layer\d\.\d+\.bn3|res5\.\d+\.bn3", name)
        values = rng.uniform(0.2, 0.4, shape) if last else rng.uniform(0.8, 1.2, shape)
    else:
        # He's initialisation; plain 1 / sqrt(fan_in) where no ReLU follows.
        fan_in = int(np.prod(shape[1:]))
        gain = 1.0 if "neck" in name or "downsample" in name or "bn3" in name else 2.0**0.5
        values = rng.normal(0, SPREAD.get(name, gain) / fan_in**0.5, shape)
    return torch.from_numpy(values.astype(np.float32))


def make_batch(
    sizes: list[tuple[int, int]], instances: int = 8, seed: int = 0, size_divisor: int = 1
) -> Batch:
    """Returns images of the given (height, width) with smooth random content and polygons.

    They are padded as a loader pads them: to the largest image, and to multiples of `size_divisor`.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for row, (h, w) in enumerate(sizes):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, h // 8, w // 8)))
        smooth = nn.functional.interpolate(coarse, (h, w), mode="bilinear", align_corners=False)
        corners = [_polygon(rng, h, w) for _ in range(instances)]
        boxes = [np.concatenate((each.min(axis=0), each.max(axis=0))) for each in corners]
        samples.append(
            Sample(
                image=smooth[0].to(torch.uint8),
                image_id=row,
                original_size=(h, w),
                key=row,
                boxes=torch.from_numpy(np.array(boxes, dtype=np.float32).reshape(-1, 4)),
                classes=torch.zeros(instances, dtype=torch.int64),
                masks=[[each] for each in corners],
            )
        )
    batch = collate_samples(samples, size_divisor=size_divisor)
    classes = torch.from_numpy(rng.integers(0, 80, (len(sizes), instances)))
    return replace(batch, targets=replace(batch.targets, classes=classes))


def _polygon(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    radius = rng.uniform(0.05, 0.3, 2) * (width, height)
    centre = rng.uniform(radius, (width, height) - radius)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    return centre + radius * np.stack((np.cos(angles), np.sin(angles)), axis=1)


def build_detectron2(
    name: str, model: RCNN, configs: str, options: tuple[Any, ...] = (), device: str = "cpu"
) -> Any:
    """Returns detectron2's model of the same detector, holding the weights of ours.

    Args:
        name: Of our configuration.
        model: Ours.
        configs: detectron2's configs folder.
        options: Further KEY, value pairs of detectron2's configuration.
        device: Where the model goes.
    """
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_file(f"{configs}/{DETECTRON2_CONFIGS[name]}")
    pixels = settle_detector(load_config(name)).model.pixels.settled()
    cfg.merge_from_list(
        ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", "MODEL.RESNETS.STRIDE_IN_1X1", False]
        + ["MODEL.PIXEL_MEAN", list(pixels.mean), "MODEL.PIXEL_STD", list(pixels.std)]
        + ["INPUT.FORMAT", "RGB", *options]
    )
    peer = build_model(cfg)
    state = from_ours(model.state_dict(), "detectron2", "detector")
    own = peer.state_dict()
    missing = set(own) - set(state) - {n for n in own if n.startswith(("pixel_", "proposal_gen"))}
    missing |= {n for n in own if "rpn_head" in n} - set(state)
    if missing or set(state) - set(own):
        raise ValueError(
            f"layouts differ: {sorted(missing)[:3]}, {sorted(set(state) - set(own))[:3]}"
        )
    peer.load_state_dict(state, strict=False)
    return peer


def detectron2_inputs(batch: Batch, *, training: bool) -> list[dict[str, Any]]:
    """Returns the batch as detectron2's models take it."""
    from detectron2.structures import Boxes, Instances, PolygonMasks

    inputs = []
    for row, (height, width) in enumerate(batch.sizes.tolist()):
        record: dict[str, Any] = {"image": batch.images[row, :, :height, :width].contiguous()}
        record |= {"height": batch.original_sizes[row][0], "width": batch.original_sizes[row][1]}
        if training and batch.targets is not None:
            truth = Instances((height, width))
            truth.gt_boxes = Boxes(batch.targets.boxes[row])
            truth.gt_classes = batch.targets.classes[row]
            truth.gt_masks = PolygonMasks(
                [[polygon.ravel() for polygon in mask] for mask in batch.targets.masks[row]]
            )
            record["instances"] = truth
        inputs.append(record)
    return inputs


def build_torchvision(model: RCNN) -> nn.Module:
    """Returns torchvision's maskrcnn_resnet50_fpn with the weights of our Mask R-CNN R50-FPN.

    Where it differs by construction it keeps its own ways: background is class 0, anchors are
    rounded, regions are pooled unaligned. Stem and res2 are frozen as ours are.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    peer = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=81,
        # Images arrive at their final size, normalised here.
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        norm_layer=_frozen_norm(),
    )
    peer.load_state_dict(from_ours(model.state_dict(), "torchvision", "detector"))
    for name, parameter in peer.backbone.body.named_parameters():
        parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")))
    return peer


def _frozen_norm() -> Any:
    from torchvision.ops import FrozenBatchNorm2d

    return FrozenBatchNorm2d


def torchvision_inputs(
    batch: Batch, model: nn.Module, short_side: int | None = None
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Returns images and targets as torchvision's detectors take them.

    Masks are bitmaps there; they are drawn once per batch and kept, as a loader would deliver them.

    Args:
        batch: Ours.
        model: Theirs, which resizes by itself.
        short_side: What it resizes to; None leaves the images at their size.
    """
    model.transform.min_size = (short_side or min(batch.images.shape[-2:]),)
    images = [
        (batch.images[row, :, :height, :width] / 255.0).contiguous()
        for row, (height, width) in enumerate(batch.sizes.tolist())
    ]
    if batch.targets is None:
        return images, []
    targets = [
        {
            "boxes": batch.targets.boxes[row],
            "labels": batch.targets.classes[row] + 1,
            "masks": _bitmaps(batch, row).to(batch.images.device),
        }
        for row in range(len(images))
    ]
    return images, targets


_DRAWN: dict[tuple[int, int], Tensor] = {}


def _bitmaps(batch: Batch, row: int) -> Tensor:
    from pycocotools import mask as coco_mask

    key = (id(batch), row)
    if key not in _DRAWN and batch.targets is not None:
        height, width = batch.sizes[row].tolist()
        polygons = [[p.ravel() for p in mask] for mask in batch.targets.masks[row]]
        drawn = [
            coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(mask, height, width)))
            for mask in polygons
        ]
        _DRAWN[key] = torch.from_numpy(np.stack(drawn))
    return _DRAWN[key]
