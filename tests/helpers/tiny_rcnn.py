"""A detector and batches small enough for tests."""

import json

import numpy as np
import torch
from PIL import Image

from resnet_backbone.config.schema import Config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.structures import Batch, Detections, Targets
from resnet_backbone.weights.files import save_weights

CLASS_NAMES = ("square", "disc", "bar")
CATEGORY_IDS = (2, 5, 7)
SIDE = 64


def tiny_config(**model):
    """R18-FPN with narrow heads; `model` changes keys of its model section."""
    section = {
        "mask": True,
        "backbone": {"name": "resnet18", "norm": "FrozenBN", "freeze_at": 0},
        "fpn_channels": 16,
        "rpn": {
            "anchors": {"sizes": ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))},
            "samples_per_image": 16,
            "pre_nms_topk_test": 30,
            "post_nms_topk_test": 20,
            "pre_nms_topk_train": 30,
            "post_nms_topk_train": 20,
        },
        "roi": {
            "samples_per_image": 8,
            "box_fc_dim": 16,
            "mask_conv_dim": 8,
            "mask_conv_layers": 1,
            "score_threshold": 0.05,
        },
    }
    data = {"test_min_size": SIDE, "test_max_size": SIDE, "workers": 0}
    exact = {"amp": "off"}
    return Config.model_validate(
        {"model": section | model, "data": data, "solver": exact, "device": "cpu"}
    )


def tiny_detector(cfg=None, seed=0):
    """Random weights that give detections above the threshold."""
    torch.manual_seed(seed)
    model = build_detector(cfg or tiny_config(), len(CLASS_NAMES))
    # Random classifiers find everything equally likely; a wider one has opinions.
    torch.nn.init.normal_(model.roi_heads.predictor.classifier.weight, std=0.5)
    return model


def tiny_batch(image_ids, seed=0):
    """Noise images of `SIDE` pixels, each with one square."""
    generator = torch.Generator().manual_seed(seed)
    count = len(image_ids)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    corners = np.array([[8.0, 8.0], [40.0, 8.0], [40.0, 40.0], [8.0, 40.0]])
    return Batch(
        images=images.contiguous(memory_format=torch.channels_last),
        sizes=torch.tensor([[SIDE, SIDE]] * count),
        original_sizes=[(SIDE * 2, SIDE * 2)] * count,
        image_ids=list(image_ids),
        targets=Targets(
            boxes=torch.tensor([[[8.0, 8.0, 40.0, 40.0]]] * count),
            classes=torch.zeros(count, 1, dtype=torch.int64),
            valid=torch.ones(count, 1, dtype=torch.bool),
            keys=torch.tensor(list(image_ids)),
            masks=[[[corners]]] * count,
        ),
    )


def tiny_annotations(image_ids):
    """The annotations, at original size, of `tiny_batch`."""
    square = [16.0, 16.0, 80.0, 16.0, 80.0, 80.0, 16.0, 80.0]
    return {
        "images": [
            {"id": i, "height": SIDE * 2, "width": SIDE * 2, "file_name": f"{i}.png"}
            for i in image_ids
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": i,
                "category_id": CATEGORY_IDS[0],
                "bbox": [16, 16, 64, 64],
                "area": 4096,
                "iscrowd": 0,
                "segmentation": [square],
            }
            for i in image_ids
        ],
        "categories": [
            {"id": key, "name": name} for key, name in zip(CATEGORY_IDS, CLASS_NAMES, strict=True)
        ],
    }


class Seer(torch.nn.Module):
    """Stands in for a detector: finds the square of each `tiny_batch`, a little off."""

    size_divisor = 1

    def losses(self, batch):
        keys = batch.targets.keys.float()
        return {"loss_cls": keys.mean(), "loss_mask": (keys**2).mean()}

    def detect(self, batch):
        return [
            self._find(image_id, size)
            for image_id, size in zip(batch.image_ids, batch.original_sizes, strict=True)
        ]

    def _find(self, image_id, size):
        generator = torch.Generator().manual_seed(image_id)
        scale = size[0] / SIDE
        x0, y0, x1, y1 = (
            scale * (torch.tensor([8, 8, 40, 40]) + torch.randint(-4, 5, (4,), generator=generator))
        ).tolist()
        masks = torch.zeros(1, *size, dtype=torch.bool)
        masks[0, round(y0) : round(y1), round(x0) : round(x1)] = True
        return Detections(
            image_id=image_id,
            size=size,
            boxes=torch.tensor([[x0, y0, x1, y1]]),
            scores=torch.rand(1, generator=generator),
            classes=torch.zeros(1, dtype=torch.int64),
            masks=masks,
        )


def write_tiny_dataset(root, count=4):
    """Noise images with one square each, as train and val split; returns the data section."""
    image_ids = list(range(1, count + 1))
    (root / "annotations").mkdir(parents=True)
    rng = np.random.default_rng(0)
    section = {"root": str(root), "test_min_size": SIDE, "test_max_size": SIDE, "workers": 0}
    for split in ("train", "val"):
        (root / split).mkdir()
        for image_id in image_ids:
            pixels = rng.integers(0, 256, (SIDE * 2, SIDE * 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / f"{image_id}.png")
        file = root / "annotations" / f"{split}.json"
        file.write_text(json.dumps(tiny_annotations(image_ids)))
        section[split] = {"images": split, "annotations": f"annotations/{split}.json"}
    return section


def save_tiny_weights(path, cfg=None):
    """Writes what training would: weights with configuration and classes inside."""
    cfg = cfg or tiny_config()
    card = {
        "config": cfg.model_dump_json(),
        "class_names": json.dumps(CLASS_NAMES),
        "category_ids": json.dumps(CATEGORY_IDS),
    }
    save_weights(tiny_detector(cfg), path, card)
    return path
