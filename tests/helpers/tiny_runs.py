"""Whole runs of a tiny detector and a tiny classifier, a few seconds each."""

import tiny_classifier
from tiny_rcnn import tiny_config, write_tiny_dataset

from resnet_backbone.config.schema import Config


def detector_config(root, output, **sections):
    """Returns a run of 4 steps on the dataset in `root`, which is written if it is not there."""
    splits = {name: {"images": name, "annotations": f"annotations/{name}.json"} for name in SPLITS}
    if not (root / "annotations").is_dir():
        write_tiny_dataset(root)
    tree = tiny_config().model_dump()
    tree["output"], tree["log_period"] = str(output), 2
    tree["data"] |= {"root": str(root), **splits, "min_sizes": (64,), "max_size": 64}
    # A random classifier's scores lie about a third.
    tree["model"]["roi"]["score_threshold"] = 0.0
    tree["solver"] |= {
        "lr": 0.001,
        "max_iter": 4,
        "warmup_iters": 0,
        "milestones": (3,),
        "batch_size": 2,
        "scale": False,
    }
    tree["evaluation"] |= {"period": 2, "pictures": 1}
    for name, value in sections.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    return Config.model_validate(tree)


SPLITS = ("train", "val")


def classifier_config(root, output, **sections):
    """Returns a run of 6 steps on the images in `root`, which are written if not there."""
    if not root.is_dir():
        tiny_classifier.write_images(root)
    return tiny_classifier.config(root, output, **sections)
