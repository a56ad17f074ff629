"""Folders of finished classification runs, as the engine leaves them, without their weights."""

import json

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.strict_yaml import write_text
from resnet_backbone.paper.record import record_run


def write_run(
    folder,
    network="resnet20_cifar",
    *,
    top1=0.09,
    training=0.02,
    lines=40,
    seed=0,
    max_iter=64_000,
    steps=None,
    data=None,
    tests=None,
    **sections,
):
    """A run whose errors fall linearly from 0.9 to `top1` and `training`."""
    folder.mkdir(parents=True)
    steps = steps or max_iter
    cfg = ClassificationConfig.model_validate(
        {
            "name": f"cifar10_{network.removesuffix('_cifar')}",
            "seed": seed,
            "model": {"name": network},
            "data": data or {"format": "cifar10", "crop": "pad", "root": "/mnt/disk/cifar"},
            "solver": {
                "schedule": "multistep",
                "max_iter": max_iter,
                "milestones": (max_iter // 2, max_iter // 4 * 3),
                "batch_size": 128,
                "reference_batch_size": 128,
                "lr": 0.1,
                "weight_decay_norm": 1e-4,
            },
            **sections,
        }
    )
    (folder / "config.yaml").write_text(write_text(cfg.model_dump(mode="json")))
    write_lines(folder / "metrics.jsonl", steps, lines, top1, training)
    errors = {"top1_error": top1, "top5_error": top1 / 10}
    best = {"metric": "top1_error", "value": top1, "step": steps}
    write_json(
        folder / "results.json",
        {"metrics": {"classification": errors}, "step": steps, "best": best, "per_class": {}},
    )
    for testing, error in (tests or {}).items():
        write_evaluation(folder / testing, testing, [f"{folder.name}/model.safetensors"], error)
    write_json(
        folder / "environment.json",
        {
            "command": ["/home/someone/tools/pretrain.py", "data.root=/mnt/disk/cifar"],
            "python": "3.12.1",
            "ranks": 1,
            "gpu": None,
            "packages": {"torch": "2.15.0", "numpy": "2.1"},
        },
    )
    return folder


def write_lines(file, steps, lines, top1, training):
    with file.open("w") as out:
        for line in range(1, lines + 1):
            step, share = steps * line // lines, line / lines
            error = 0.9 + (training - 0.9) * share
            out.write(json.dumps({"step": step, "loss": 1.0, "error": error}) + "\n")
            if line % 4 == 0:
                error = 0.9 + (top1 - 0.9) * share
                out.write(json.dumps({"step": step, "classification/top1_error": error}) + "\n")


def write_evaluation(folder, testing, weights, top1):
    """What tools/evaluate.py leaves."""
    folder.mkdir()
    errors = {"top1_error": top1, "top5_error": top1 / 10}
    content = {"weights": weights, "testing": testing, "metrics": {"classification": errors}}
    write_json(folder / "results.json", content | {"per_class": {}, "loss": {"loss": 1.0}})


def write_json(file, value):
    file.write_text(json.dumps(value))


def record(folder, results, network="resnet20_cifar", *, measured=None, **options):
    """Writes such a run into `folder` and records it in `results`."""
    return record_run(write_run(folder, network, **options), results, measured)
