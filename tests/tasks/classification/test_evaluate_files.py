"""Weight files judged on the validation images, alone and as an ensemble."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_classifier
import torch
from PIL import Image

from resnet_backbone.classification.testing import make_testing
from resnet_backbone.data.labelled.build import build_images
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.tasks.classification import evaluate_files
from resnet_backbone.tasks.classification.evaluate_files import evaluate_classifier_files
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.classification.trained import load_trained_classifier
from resnet_backbone.utils import distributed, precision
from resnet_backbone.weights.files import save_weights

MEAN_IMAGE = {"mean_image": "auto"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_classifier.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    """Two runs that differ in their seed; the first subtracts a mean image."""
    folder = tmp_path_factory.mktemp("runs")
    first = tiny_classifier.config(images, folder / "first", model=MEAN_IMAGE)
    second = tiny_classifier.config(images, folder / "second", seed=1)
    return train_task(ClassificationTask, first), train_task(ClassificationTask, second)


def test_evaluating_a_runs_weights_repeats_its_last_evaluation(images, runs, tmp_path):
    for run in runs:
        cfg = tiny_classifier.config(images, tmp_path)
        found = evaluate_classifier_files(cfg, [run / "model.safetensors"], tmp_path / run.name)
        before = json.loads((run / "results.json").read_text())
        assert found.metrics == before["metrics"]
        written = json.loads((tmp_path / run.name / "results.json").read_text())
        assert written["metrics"] == before["metrics"] and written["testing"] == "single"


@pytest.mark.parametrize("fast", [True, False])
def test_results_say_in_which_precision_they_were_computed(
    images, runs, tmp_path, monkeypatch, fast
):
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)
    cfg = tiny_classifier.config(images, tmp_path, solver={"amp": "auto"})
    evaluate_classifier_files(cfg, [runs[0] / "model.safetensors"], tmp_path / "out")
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["amp"] == ("bf16" if fast else "off")


def test_an_ensemble_is_the_mean_of_its_members(images, runs, tmp_path):
    cfg = tiny_classifier.config(images, tmp_path)
    files = [run / "model.safetensors" for run in runs]
    found = evaluate_classifier_files(cfg, files, tmp_path)
    members = [load_trained_classifier(file, cfg).model for file in files]
    wrong, surprise, total = 0, 0.0, 0
    for batch in build_images(cfg.data, batch_size=1, seed=0, fill=None).test_batches(1):
        with torch.no_grad():
            votes = torch.stack([m.scores(batch.images).softmax(1) for m in members]).mean(0)[0]
        wrong += int(votes.argmax() != batch.labels[0])
        surprise -= float(votes[batch.labels[0]].log())
        total += 1
    assert found.metrics["classification"]["top1_error"] == wrong / total
    # The same networks on batches of another size: float32 rounding.
    assert found.loss["loss"] == pytest.approx(surprise / total, rel=1e-4)


@pytest.fixture
def untrained(images, tmp_path):
    """A configuration of images in files, and a classifier's file, which was not trained."""
    data = {"format": "folders", "crop": "scale_jitter", "short_side": (12, 16), "workers": 0}
    cfg = tiny_classifier.config(
        images, tmp_path / "run", data=data | {"test_resize": 11, "test_size": 9, "size": 9}
    )
    task = ClassificationTask(ClassificationTask.settle(cfg).cfg, torch.device("cpu"))
    save_weights(task.weights(), tmp_path / "w.safetensors", task.card(None))
    return cfg, tmp_path / "w.safetensors"


@pytest.mark.parametrize("form", ["folders", "resident"])
def test_training_images_are_not_needed(untrained, tmp_path, form):
    cfg, file = untrained
    here = cfg.data.model_copy(update={"format": form})
    (tmp_path / "moved").mkdir()
    shutil.copytree(Path(here.root) / "val", tmp_path / "moved" / "val")
    moved = here.model_copy(update={"root": str(tmp_path / "moved")})
    evaluated = [
        evaluate_classifier_files(cfg.model_copy(update={"data": data}), [file], tmp_path / "out")
        for data in (here, moved)
    ]
    assert evaluated[0].metrics == evaluated[1].metrics
    assert evaluated[0].loss == evaluated[1].loss
    # One of the classes alone.
    shutil.rmtree(tmp_path / "moved" / "val" / "light")
    data = {"data": moved}
    dark = evaluate_classifier_files(cfg.model_copy(update=data), [file], tmp_path / "out")
    assert dark.per_class["top1_error"]["dark"] == evaluated[0].per_class["top1_error"]["dark"]


@pytest.mark.parametrize("testing", ["ten_crop", "multi_scale"])
def test_other_ways_of_testing_look_at_whole_images(untrained, tmp_path, testing):
    cfg, file = untrained
    judging = cfg.evaluation.model_copy(update={"testing": testing, "scales": (10, 14)})
    cfg = cfg.model_copy(update={"evaluation": judging})
    found = evaluate_classifier_files(cfg, [file], tmp_path / "out")
    model = load_trained_classifier(file, cfg).model
    views = make_testing(testing, resize=11, size=9, scales=(10, 14))
    loss = 0.0
    whole = build_images(cfg.data, batch_size=1, seed=0, fill=(0, 0, 0)).whole_images()
    with torch.no_grad():
        for batch in whole:
            votes = torch.cat(
                [model.scores(view[None]).softmax(1) for view in views.views(batch.images[0])]
            )
            loss -= float(votes.mean(0)[batch.labels[0]].log()) / len(whole)
    # Views of one size share a pass: float32 rounding.
    assert found.loss["loss"] == pytest.approx(loss, rel=1e-4)
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["testing"] == testing and written["weights"] == [str(file)]
    assert written["metrics"] == found.metrics


def test_images_of_sixteen_bits_are_read_as_in_training(tmp_path, caplog):
    """The weights know their range; the validation images alone would have another one."""
    for place, largest in (("train", 4095), ("val", 1000)):
        for number in range(4):
            folder = tmp_path / place / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(number).integers(0, largest + 1, (12, 12), np.uint16)
            values[0, 0] = largest
            Image.fromarray(values).save(folder / f"{number}.png")
    data = {"format": "folders", "crop": "scale_jitter", "short_side": (12, 16), "workers": 0}
    data |= {"test_resize": 11, "test_size": 9, "size": 9, "interpolation": "bicubic"}
    cfg = tiny_classifier.config(tmp_path, tmp_path / "run", data=data)
    task = ClassificationTask(ClassificationTask.settle(cfg).cfg, torch.device("cpu"))
    assert task.cfg.data.bit_depth == 12
    expected = task.evaluate(lambda: False)
    file = tmp_path / "w.safetensors"
    save_weights(task.weights(), file, task.card(None))
    other = cfg.data.model_copy(update={"interpolation": "bilinear"})
    cfg = cfg.model_copy(update={"data": other})
    found = evaluate_classifier_files(cfg, [file], tmp_path / "out")
    assert "data.interpolation=bicubic, data.bit_depth=12, as in the training" in caplog.text
    # The same networks on batches of another size: float32 rounding.
    assert found.loss["loss"] == pytest.approx(expected.loss["loss"], rel=1e-4)


def test_weights_of_other_classes_are_refused_before_anything_is_judged(untrained, tmp_path):
    cfg, file = untrained
    for place in ("train/x", "train/y", "val/x", "val/y"):
        (tmp_path / "others" / place).mkdir(parents=True)
        Image.new("RGB", (12, 12)).save(tmp_path / "others" / place / "0.png")
    data = cfg.data.model_copy(update={"root": str(tmp_path / "others")})
    with pytest.raises(WeightsError, match="not have 2 classes of the images: x, y\\n"):
        evaluate_classifier_files(cfg.model_copy(update={"data": data}), [file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_the_main_rank_writes(untrained, tmp_path, monkeypatch):
    cfg, file = untrained
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    found = evaluate_classifier_files(cfg, [file], tmp_path / "out")
    assert found.metrics["classification"]["images"] == 8
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_a_storage_error(untrained, tmp_path):
    cfg, file = untrained
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="out: cannot be written: Not a directory"):
        evaluate_classifier_files(cfg, [file], tmp_path / "out")


def test_signals_are_asked_for_before_each_batch(untrained, tmp_path, monkeypatch):
    cfg, file = untrained
    asked = []

    def judge(*arguments, should_stop, **options):
        asked.append(should_stop())
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_files, "evaluate_classifier", judge)
    with pytest.raises(KeyboardInterrupt):
        evaluate_classifier_files(cfg, [file], tmp_path / "out")
    assert asked == [False] and not (tmp_path / "out").exists()
