"""A classifier's run that takes seconds: two classes of small noisy images."""

from pathlib import Path

import numpy as np
from PIL import Image

from resnet_backbone.config.classification_schema import ClassificationConfig

SIDE = 12
CLASSES = ("dark", "light")


def write_images(root: Path, *, count: int = 24, val_count: int = 8, side: int = SIDE) -> Path:
    """Writes train/CLASS/N.png and val/CLASS/N.png."""
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("val", val_count)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(images // 2):
                pixels = rng.normal(80 + 100 * label, 40, (side, side, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def config(root: Path, output: Path, **sections) -> ClassificationConfig:
    """Returns a run of 6 steps; keyword arguments are merged into its sections."""
    tree: dict = {
        "output": str(output),
        "device": "cpu",
        "log_period": 2,
        "data": {
            "root": str(root),
            "format": "resident",
            "crop": "pad",
            "padding": 2,
            "size": SIDE,
            "test_resize": SIDE,
            "test_size": SIDE,
        },
        "model": {"name": "resnet20_cifar"},
        "solver": {
            "lr": 0.05,
            "schedule": "multistep",
            "milestones": (4,),
            "max_iter": 6,
            "warmup_iters": 0,
            "batch_size": 8,
            "scale": False,
            "amp": "off",
        },
        "evaluation": {"period": 3, "batch_size": 3},
        "checkpoint": {"period": 2},
    }
    for name, value in sections.items():
        tree[name] = tree.get(name, {}) | value if isinstance(value, dict) else value
    return ClassificationConfig.model_validate(tree)
