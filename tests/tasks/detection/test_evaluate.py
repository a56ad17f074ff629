import json
import logging
import math
import multiprocessing
import socket

import numpy as np
import pytest
import torch
from evaluate_on_ranks import IMAGE_IDS, batches, coco_evaluator, evaluate_share
from tiny_rcnn import CLASS_NAMES, Seer, tiny_config, tiny_detector, write_tiny_dataset

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.errors import Interrupted
from resnet_backbone.tasks.detection.evaluate import evaluate_detector, make_evaluator

CPU = torch.device("cpu")


def never():
    return False


@pytest.fixture(scope="module")
def model():
    return tiny_detector()


def run(model, folder, loader=None, **options):
    loader = batches(IMAGE_IDS) if loader is None else loader
    options = {"with_loss": True, "should_stop": never} | options
    return evaluate_detector(model, loader, coco_evaluator(folder), CPU, **options)


def test_metrics_loss_and_table_of_classes(model, tmp_path):
    result = run(model, tmp_path)
    assert set(result.metrics) == {"bbox", "segm"}
    assert set(result.per_class["bbox"]) == set(CLASS_NAMES)
    parts = [value for name, value in result.loss.items() if name != "loss"]
    assert result.loss["loss"] == pytest.approx(sum(parts))
    assert all(math.isfinite(value) for value in parts)


def test_loss_is_the_mean_over_images_whatever_the_batches(model, tmp_path):
    single = run(model, tmp_path).loss
    with torch.no_grad():
        model.eval()
        each = [model.losses(batch) for batch in batches(IMAGE_IDS)]
    for name in each[0]:
        expected = sum(float(losses[name]) for losses in each) / len(each)
        assert single[name] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_even_after_an_error(model, tmp_path, training):
    model.train(training)
    run(model, tmp_path, with_loss=False)
    assert model.training is training
    with pytest.raises(Interrupted):
        run(model, tmp_path, should_stop=lambda: True)
    assert model.training is training


def test_no_gradients_and_no_losses_unless_asked_for(model, tmp_path):
    assert run(model, tmp_path, with_loss=False).loss is None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_in_bf16_layers_compute_in_it_and_losses_boxes_and_masks_do_not_notice(model, tmp_path):
    seen = set()
    hooks = [
        module.register_forward_hook(lambda *args: seen.add(args[2].dtype))
        for module in model.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    found = run(model, tmp_path, amp="bf16").loss
    for hook in hooks:
        hook.remove()
    assert seen == {torch.bfloat16}
    # bfloat16 has 8 bits: each layer rounds by up to 2 ** -9 of its values.
    assert found == pytest.approx(run(model, tmp_path).loss, rel=0.05)
    batch = next(iter(batches(IMAGE_IDS)))
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        losses, (detections, *_) = model.losses(batch), model.detect(batch)
    values = [*losses.values(), detections.boxes, detections.scores]
    assert {value.dtype for value in values} == {torch.float32}


def test_stops_before_the_next_batch_when_told(model, tmp_path):
    answers = iter([False, False, True])
    with pytest.raises(Interrupted, match="after 2 of 7 batches"):
        run(model, tmp_path, should_stop=lambda: next(answers))


def test_no_predictions_are_explained_with_score_and_threshold(tmp_path):
    cfg = tiny_config(roi={**tiny_config().model.roi.model_dump(), "score_threshold": 1.0})
    model = tiny_detector(cfg)
    result = run(model, tmp_path)
    assert result.metrics["bbox"]["AP"] == 0.0
    assert "there are no predictions" in result.explanation
    assert "The highest score in the first images is 0." in result.explanation
    assert result.explanation.endswith("the threshold is 1.")
    assert model.roi_heads.settings.score_threshold == 1.0


def test_progress_goes_to_the_log_where_there_is_no_terminal(model, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("resnet_backbone.utils.progress.LOG_SECONDS", 0)
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    run(model, tmp_path, with_loss=False)
    assert "evaluated 7 of 7 batches" in caplog.text


def test_errors_are_told_apart_and_shown(model, tmp_path):
    result = run(model, tmp_path)
    assert set(result.errors) == {"bbox", "segm"}
    found = result.errors["bbox"]
    assert sum(row["count"] for row in found.values()) > 0
    assert result.to_dict()["errors"]["bbox"]["missed"]["count"] == found["missed"]["count"]
    assert "localisation" in str(result) and "bbox: AP50 they cost" in str(result)


def test_images_of_more_objects_than_the_detector_returns_are_counted(tmp_path, caplog):
    section = write_tiny_dataset(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "val.json"
    content = json.loads(path.read_text())
    first = content["annotations"][0]
    content["annotations"] += [first | {"id": 900 + number} for number in range(4)]
    content["annotations"] += [first | {"id": 990, "iscrowd": 1}]
    path.write_text(json.dumps(content))
    data = DataConfig.model_validate_json(json.dumps(section))
    for limit, warned in ((4, True), (5, False)):
        roi = tiny_config().model.roi.model_dump() | {"detections_per_image": limit}
        cfg = tiny_config(roi=roi).model_copy(update={"data": data})
        make_evaluator(cfg, build_dataset(data, "val", with_masks=True, seed=0))
        assert warned == ("1 of 4 images hold more objects, up to 5, than" in caplog.text)
        assert warned == ("model.roi.detections_per_image, now 4" in caplog.text)
        caplog.clear()


def test_the_judge_counts_as_many_detections_as_configured(tmp_path):
    section = write_tiny_dataset(tmp_path / "data")
    data = DataConfig.model_validate_json(json.dumps(section))
    cfg = tiny_config().model_copy(update={"data": data})
    cfg = cfg.model_copy(
        update={"evaluation": cfg.evaluation.model_copy(update={"max_detections": 300})}
    )
    dataset = build_dataset(data, "val", with_masks=True, seed=0)
    metrics = make_evaluator(cfg, dataset).evaluate()
    assert "AR300" in metrics["segm"] and "AR100" not in metrics["segm"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_annotation_file_is_judged_as_it_was_trained_on(tmp_path, encoding):
    """In every encoding, with ids and sizes as pandas writes them, and outlines behind no box."""
    section = write_tiny_dataset(tmp_path / "data")
    data = DataConfig.model_validate_json(json.dumps(section | {"on_bad_sample": "skip"}))
    cfg = tiny_config().model_copy(update={"data": data})
    path = tmp_path / "data" / "annotations" / "val.json"
    content = json.loads(path.read_text())

    def truth():
        evaluator = make_evaluator(cfg, build_dataset(data, "val", with_masks=True, seed=0))
        return evaluator._load_truth()

    expected = truth()
    hostile = content["annotations"][0] | {
        "bbox": [5, 5, 0, 5],
        "segmentation": {"size": [64, 64], "counts": [1_000_000]},
    }
    content["annotations"] += [hostile | {"id": 900}]
    for image in content["images"]:
        image |= {"id": float(image["id"]), "height": float(image["height"])}
    for annotation in content["annotations"]:
        annotation["image_id"] = float(annotation["image_id"])
    path.write_text(json.dumps(content), encoding=encoding)
    found = truth()
    assert found.image_ids == expected.image_ids and found.sizes == expected.sizes
    for field in ("images", "classes", "boxes", "areas", "crowd"):
        assert np.array_equal(getattr(found, field), getattr(expected, field))
    assert found.masks == expected.masks


def test_undefined_numbers_are_null_in_json():
    result = EvaluationResult(
        {"bbox": {"AP": 0.5, "APs": math.nan}}, {"loss": 2.0}, None, {"bbox": {"cat": math.nan}}
    )
    assert result.flat() == {"bbox/AP": 0.5, "bbox/APs": None, "val_loss": 2.0}
    assert "errors" not in result.to_dict()
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["per_class"] == {"bbox": {"cat": None}}


def test_two_ranks_equal_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = [
        context.Process(target=evaluate_share, args=(rank, port, tmp_path, queue))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    (_, first, polls), (_, second, other_polls) = sorted(queue.get(timeout=240) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
    times = ("seconds", "images_per_second")
    assert first | dict.fromkeys(times) == second | dict.fromkeys(times)
    assert first["images"] == len(IMAGE_IDS) + 1
    assert polls == other_polls == 5
    alone = run(Seer(), tmp_path).to_dict()
    assert first["metrics"] == alone["metrics"]
    assert first["per_class"] == alone["per_class"]
    assert first["errors"] == alone["errors"]
    # Image 11 was with both ranks; its loss counts for each, its detections once.
    expected = (sum(IMAGE_IDS) + IMAGE_IDS[1]) / (len(IMAGE_IDS) + 1)
    assert first["loss"]["loss_cls"] == pytest.approx(expected)
