"""A training of ours with detectron2's trainer, at our learning rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from resnet_backbone.cli import evaluate as evaluate_command
from resnet_backbone.cli import train as train_command
from resnet_backbone.config.load import load_config
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.engine.schedule import learning_rate, scale_to_batch
from resnet_backbone.errors import ConfigError, DivergedError, StorageError
from resnet_backbone.plugins.detectron2_config import to_detectron2
from resnet_backbone.plugins.detectron2_engine import Trainer, train_with_detectron2
from resnet_backbone.tasks.detection.trained import load_trained

TINY = (
    *("data.shapes.train_images=8", "data.shapes.val_images=2", "data.shapes.image_size=64"),
    *("data.min_sizes=[64]", "data.max_size=64", "data.test_min_size=64", "data.test_max_size=64"),
    *("solver.optimizer=sgd", "solver.lr=0.001", "solver.max_iter=2", "solver.batch_size=2"),
    *("checkpoint.period=2", "evaluation.period=0", "data.workers=0", "device=cpu"),
)


CLASSES = ("circle", "square", "triangle", "star")
MULTISTEP = ["solver.milestones=[30,50]", "solver.warmup_iters=10"]


@pytest.mark.parametrize(
    ("overrides", "as_theirs"),
    [
        (MULTISTEP, True),
        (["solver.milestones=[30,50]", "solver.warmup_iters=0"], True),
        (["solver.milestones=[5,50]", "solver.warmup_iters=10"], False),
        (["solver.schedule=cosine", "solver.warmup_iters=10"], False),
    ],
)
def test_the_learning_rates_are_ours(overrides, as_theirs):
    """Also detectron2's own, unless a warm-up meets a cosine or a milestone."""
    length = ["solver.batch_size=16", "solver.max_iter=60", "model.backbone.weights=null"]
    cfg = scale_to_batch(settle_detector(load_config("coco_frcnn_r50", [*length, *overrides])), 1)
    node = to_detectron2(cfg, num_classes=80, device="cpu")
    trainer = Trainer.__new__(Trainer)
    trainer._ours = cfg
    expected = [learning_rate(cfg.solver, step) for step in range(60)]
    assert rates(trainer.build_lr_scheduler, node) == pytest.approx(expected, rel=1e-12)
    theirs = rates(build_lr_scheduler, node)
    assert (theirs == pytest.approx(expected, rel=1e-9)) == as_theirs


def rates(build, node):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=node.SOLVER.BASE_LR)
    scheduler = build(node, optimizer)
    found = []
    for _ in range(60):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectron2")
    places = [f"data.root={folder / 'data'}", f"output={folder / 'run'}"]
    train_command.main(["--engine", "detectron2", "--config", "quickstart.yaml", *TINY, *places])
    return folder / "run", places


def test_detectron2_trains_our_configuration(trained):
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP" in line and "segm/AP" in line for line in lines)
    assert all(abs(line.get("total_loss", 0)) < 100 for line in lines)


def test_its_checkpoint_loads_again(trained):
    folder, _ = trained
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    model = build_model(cfg)
    unmatched = DetectionCheckpointer(model).load(str(folder / "model_final.pth"))
    assert "model" not in unmatched


def test_its_checkpoint_is_one_of_our_own_tools_too(trained):
    """Without a configuration: it stores its own, its classes, and the card."""
    folder, places = trained
    path = folder / "model_final.pth"
    found = load_trained(path)
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "config.yaml"))
    theirs = build_model(cfg).eval()
    DetectionCheckpointer(theirs).load(str(path))
    assert found.class_names == CLASSES and found.names_known
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    normalised = (image - theirs.pixel_mean) / theirs.pixel_std
    with torch.no_grad():
        expected = theirs.backbone(normalised[None])
        levels = found.model.neck(found.model.backbone(normalised[None]))
    for level, tensor in zip(levels, expected.values(), strict=True):
        torch.testing.assert_close(level, tensor)

    options = ["--weights", str(path), "--output", str(folder.parent / "evaluated")]
    evaluate_command.main(["--config", "quickstart.yaml", *options, *TINY, places[0]])
    more = ["solver.max_iter=1", f"model.weights={path}", f"output={folder.parent / 'fine'}"]
    train_command.main(["--config", "quickstart.yaml", *TINY, places[0], *more])
    assert (folder.parent / "fine" / "model.safetensors").is_file()


def test_a_run_is_not_overwritten_unasked_and_can_be_resumed(trained):
    _, places = trained
    cfg = load_config("quickstart", [*TINY, *places, "solver.max_iter=3"])
    with pytest.raises(StorageError, match="holds another run .* continue it with --resume"):
        train_with_detectron2(cfg)
    folder = train_with_detectron2(cfg, resume=True)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert steps(folder) == [1, 2, 2, 3]  # the last one also with its evaluation


def steps(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_an_overwritten_run_leaves_nothing_of_the_first(trained):
    folder, places = trained
    mine = folder / "notes.txt"
    mine.write_text("kept")
    periods = ["solver.max_iter=5", "checkpoint.period=1", "checkpoint.keep=2", "log_period=2"]
    train_with_detectron2(load_config("quickstart", [*TINY, *places, *periods]), overwrite=True)
    assert mine.exists()
    assert steps(folder)[:2] == [1, 3]
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    kept = sorted(path.name for path in folder.glob("model_0*.pth"))
    assert kept == ["model_0000003.pth", "model_0000004.pth"]


def test_what_cannot_work_is_refused_before_an_earlier_run_is_discarded(trained):
    folder, places = trained
    for override, message in (
        ("solver.amp=fp16", "solver.amp is fp16, which needs a GPU"),
        ("model.backbone.norm=SyncBN", "SyncBN, which needs GPUs"),
        ("solver.ema_decay=0.9", "solver.ema_decay: found 0.9"),
        ("model.backbone.name=resnet51", "resnet51"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_with_detectron2(
                load_config("quickstart", [*TINY, *places, override]), overwrite=True
            )
    assert (folder / "model_final.pth").exists()


def test_a_loss_that_is_not_finite_ends_as_in_our_engine(trained, tmp_path):
    _, places = trained
    overrides = ["solver.lr=1e30", "solver.warmup_iters=0", "solver.max_iter=6"]
    cfg = load_config("quickstart", [*TINY, places[0], *overrides, f"output={tmp_path / 'run'}"])
    with pytest.raises(DivergedError, match=r"Earlier checkpoints are in .*run"):
        train_with_detectron2(cfg)


def test_classes_in_another_order_are_matched_by_name(trained, tmp_path):
    """detectron2 would number each file's classes by its ids."""
    folder, places = trained
    cfg = load_config("quickstart", [*TINY, *places])
    root = Path(cfg.data.root)
    content = json.loads((root / cfg.data.val.annotations).read_text())
    moved = {category["id"]: 40 - category["id"] for category in content["categories"]}
    for record, key in (("categories", "id"), ("annotations", "category_id")):
        for each in content[record]:
            each[key] = moved[each[key]]
    (root / "other.json").write_text(json.dumps(content))
    override = ["data.val.annotations=other.json", "data.shapes=null", f"output={tmp_path / 'run'}"]
    train_with_detectron2(load_config("quickstart", [*TINY, *places, *override]))
    judged_by = [
        (each / "val_annotations.json").read_bytes() for each in (folder, tmp_path / "run")
    ]
    assert judged_by[0] == judged_by[1]
