"""Training of a real, if tiny, Mask R-CNN on drawn shapes."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import toy

from resnet_backbone.data.coco.build import draw_shapes_dataset
from resnet_backbone.engine.schedule import scale_to_batch
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import ConfigError, DataError, Interrupted
from resnet_backbone.tasks.detection.task import DetectionTask

SIDE = 64
MODEL = {
    "mask": True,
    "backbone": {"name": "resnet18", "norm": "GN", "freeze_at": 0},
    "fpn_channels": 16,
    "rpn": {
        "anchors": {"sizes": [[8], [16], [32], [64], [128]]},
        "samples_per_image": 16,
        "pre_nms_topk_train": 30,
        "pre_nms_topk_test": 20,
        "post_nms_topk_train": 20,
        "post_nms_topk_test": 10,
    },
    "roi": {
        "samples_per_image": 8,
        "box_fc_dim": 16,
        "mask_conv_dim": 8,
        "mask_conv_layers": 1,
        "detections_per_image": 5,
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {
        "root": str(tmp_path_factory.mktemp("shapes") / "drawn"),
        "train": {"images": "train", "annotations": "train.json"},
        "val": {"images": "val", "annotations": "val.json"},
        "shapes": {"train_images": 10, "val_images": 3, "image_size": SIDE, "max_shapes": 3},
        "min_sizes": [SIDE],
        "max_size": SIDE,
        "test_min_size": SIDE,
        "test_max_size": SIDE,
        "workers": 0,
    }


def sections(data):
    return {
        "device": "cpu",
        "log_period": 1,
        "data": data,
        "model": MODEL,
        "solver": {"max_iter": 4, "optimizer": "adamw", "lr": 1e-3, "warmup_iters": 0},
        "evaluation": {"period": 0, "batch_size": 1, "pictures": 2},
        "checkpoint": {"period": 2},
    }


def config(output, data, **changes):
    tree = sections(data)
    for name, change in changes.items():
        tree[name] = tree[name] | change if isinstance(change, dict) else change
    return toy.config(output, **tree)


def losses(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "lr" in line]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    train_task(DetectionTask, config(output, data))
    return output


def test_the_results_are_all_there(whole):
    results = json.loads((whole / "results.json").read_text())
    assert set(results["metrics"]) == {"bbox", "segm"}
    assert len(results["metrics"]["bbox"]) == 12
    assert len(results["per_class"]["segm"]) >= 3
    assert set(results["errors"]) == {"bbox", "segm"}
    assert "bbox: AP50 they cost" in (whole / "log.txt").read_text()
    assert len(list((whole / "pictures").glob("*.jpg"))) == 2
    for name in (
        "curves.png",
        "precision_recall.png",
        "confusion.png",
        "labels.png",
        "train_batches.png",
    ):
        assert (whole / name).stat().st_size > 1000


def test_evaluations_during_a_run_draw_pictures(data, tmp_path):
    evaluation = {"period": 0, "times": 2, "batch_size": 1, "pictures": 1, "progress_pictures": 2}
    train_task(DetectionTask, config(tmp_path, data, evaluation=evaluation))
    folders = {path.name for path in (tmp_path / "pictures").iterdir() if path.is_dir()}
    assert folders - {"worst"} == {"step_00000002"}
    assert len([*(tmp_path / "pictures" / "step_00000002").iterdir()]) == 2


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(whole, data, tmp_path, monkeypatch):
    original = DetectionTask.training_batches

    def interrupted(task, start_step):
        for index, batch in enumerate(original(task, start_step)):
            if index == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    # Another number of workers, so that this makes no difference either.
    cfg = config(tmp_path, data | {"workers": 1})
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 2 is saved"):
        patch.setattr(DetectionTask, "training_batches", interrupted)
        train_task(DetectionTask, cfg)
    train_task(DetectionTask, cfg, resume=True)
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (run / "checkpoints" / "step_00000004" / name for run in (whole, tmp_path))
        assert one.read_bytes() == two.read_bytes()
    assert losses(tmp_path) == losses(whole)
    results = [json.loads((run / "results.json").read_text()) for run in (whole, tmp_path)]
    for name in ("metrics", "per_class", "loss", "errors", "best", "step", "images", "dataset"):
        assert results[0][name] == results[1][name]
    assert results[0]["dataset"].endswith("val.json") and results[0]["images_per_second"] > 0


def test_two_ranks_have_the_losses_of_one_process(server, whole, data, tmp_path):
    """With SGD at a small rate: rounding differs between the two, and what a step magnifies of it
    soon decides which of two equal proposals survives, after which nothing is comparable."""
    tree = sections(data)
    tree["solver"] |= {"optimizer": "sgd", "lr": 0.0005}
    one, two = tmp_path / "one", tmp_path / "two"
    train_task(DetectionTask, toy.config(one, **tree))
    job = {"real": True, "sections": tree}
    assert server.run_ranks(two, [job, job]) == [0, 0], server.stderr
    # The order of summation over the batch costs float32 roundings of 6e-8 each.
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    results = [json.loads((run / "results.json").read_text()) for run in (one, two)]
    assert results[1]["loss"] == pytest.approx(results[0]["loss"], rel=1e-4)


def test_the_task_knows_its_classes_and_data(data, tmp_path):
    cfg = config(tmp_path, data)
    task = DetectionTask(cfg, torch.device("cpu"))
    assert len(task.class_names) == len(task.category_ids) == task.model.num_classes
    assert task.score == "segm/AP"
    assert {len(digest) for digest in task.fingerprint.values()} == {64}
    boxes_only = config(tmp_path, data, model={"mask": False})
    assert DetectionTask(boxes_only, torch.device("cpu")).score == "bbox/AP"


def test_images_to_train_and_validate_on_are_counted(data, tmp_path, caplog):
    root = Path(data["root"])
    draw_shapes_dataset(config(tmp_path, data).data)
    (root / "linked").symlink_to(root / "train", target_is_directory=True)
    content = json.loads((root / "train.json").read_text())
    content["images"] = content["images"][:4]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (root / "some.json").write_text(json.dumps(content))
    splits = {"val": {"images": "linked", "annotations": "some.json"}, "shapes": None}
    DetectionTask(config(tmp_path, data | splits), torch.device("cpu"))
    assert "some.json: 4 of 4 validation images are also trained on" in caplog.text


def test_categories_of_both_files_are_matched_by_name(data, tmp_path):
    """The validation file with permuted ids gives the same metrics and losses, to the last bit."""
    cfg = config(tmp_path, data)
    task = DetectionTask(cfg, torch.device("cpu"))
    expected = task.evaluate(lambda: False)
    root = Path(data["root"])
    content = json.loads((root / "val.json").read_text())
    ids = [category["id"] for category in content["categories"]]
    permuted = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
    for category in content["categories"]:
        category["id"] = permuted[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = permuted[annotation["category_id"]]
    (root / "permuted.json").write_text(json.dumps(content))
    splits = {"val": {"images": "val", "annotations": "permuted.json"}, "shapes": None}
    other = DetectionTask(config(tmp_path, data | splits), torch.device("cpu"))
    other.model.load_state_dict(task.model.state_dict())
    found = other.evaluate(lambda: False)
    assert found.loss == expected.loss
    assert json.dumps(found.metrics) == json.dumps(expected.metrics)

    used = content["annotations"][0]["category_id"]
    for category in content["categories"]:
        category["name"] = "hexagon" if category["id"] == used else category["name"]
    (root / "permuted.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"train.json does not have: hexagon\n  4 in"):
        DetectionTask(config(tmp_path, data | splits), torch.device("cpu"))


def test_without_outlines_in_the_validation_images_boxes_decide(data, tmp_path):
    root = Path(data["root"])
    DetectionTask(config(tmp_path, data), torch.device("cpu"))  # draws
    content = json.loads((root / "val.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (root / "boxes.json").write_text(json.dumps(content))
    splits = {"val": {"images": "val", "annotations": "boxes.json"}, "shapes": None}
    task = DetectionTask(config(tmp_path, data | splits), torch.device("cpu"))
    assert task.score == "bbox/AP"
    result = task.evaluate(lambda: False)
    assert all(value is None for key, value in result.flat().items() if key.startswith("segm/"))
    assert "segm AP is undefined: no instance has an outline" in result.explanation


@pytest.mark.parametrize(("architecture", "side"), [("fpn", 64), ("dc5", 61)])
def test_every_batch_is_padded_as_the_architecture_requires(architecture, side, data, tmp_path):
    """Training, evaluation with losses, and pictures: detectron2 pads only for FPN."""
    model = {"architecture": architecture, "mask": False}
    if architecture == "dc5":
        model["rpn"] = MODEL["rpn"] | {"anchors": {"sizes": [[8, 16, 32, 64, 128]]}}
    sizes = {"min_sizes": [61], "max_size": 61, "test_min_size": 61, "test_max_size": 61}
    cfg = scale_to_batch(config(tmp_path, data | sizes, model=model), 1)
    task = DetectionTask(cfg, torch.device("cpu"))
    seen = []
    task.model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    task.model.losses(next(task.training_batches(0)))
    task.evaluate(lambda: False)
    task.export(tmp_path, None)
    assert len(seen) == 1 + 2 * 3 + 2, "a training step, detections and losses of 3, 2 pictures"
    assert {tuple(shape[2:]) for shape in seen} == {(side, side)}


def test_faster_rcnn_runs_to_the_end(data, tmp_path):
    train_task(DetectionTask, config(tmp_path, data, model={"mask": False}))
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["metrics"]) == {"bbox"}
    assert len(list((tmp_path / "pictures").glob("*.jpg"))) == 2


def test_another_class_count_is_refused_with_both_numbers(whole, data, tmp_path):
    with pytest.raises(ConfigError, match="model.num_classes is 7, .* have 4 classes"):
        train_task(DetectionTask, config(tmp_path, data, model={"num_classes": 7}))


def test_an_unreadable_image_is_an_error_or_a_listed_skip(whole, data, tmp_path):
    root = tmp_path / "data"
    copied = data | {"root": str(root)}
    DetectionTask(config(tmp_path, copied), torch.device("cpu"))  # draws
    broken = sorted((root / "train").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:100])
    copied["shapes"] = None
    with pytest.raises(DataError, match=broken.name):
        train_task(DetectionTask, config(tmp_path / "strict", copied, solver={"max_iter": 5}))
    lenient = copied | {"on_bad_sample": "skip"}
    train_task(DetectionTask, config(tmp_path / "lenient", lenient, solver={"max_iter": 5}))
    skipped = json.loads((tmp_path / "lenient" / "skipped_samples.json").read_text())
    assert len(skipped["train"]) == 1 and broken.name in skipped["train"][0]
    assert skipped["val"] == []
