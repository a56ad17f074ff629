import json
from functools import partial

import pytest
import tiny_classifier
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import ConfigError, DataError, Interrupted
from resnet_backbone.evaluation.classification import ClassificationEvaluator
from resnet_backbone.tasks.classification.mixing import Mixing
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.weights.stored import read_card

CPU = torch.device("cpu")
train_classifier = partial(train_task, ClassificationTask)
# What makes steps depend on one another and on what a checkpoint has to carry.
EVERYTHING = {
    "data": {"mixup": 0.2, "cutmix": 1.0},
    "model": {"mean_image": "auto", "stochastic_depth": 0.2},
    "solver": {"ema_decay": 0.8, "optimizer": "lamb", "lr": 0.01},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_classifier.write_images(tmp_path_factory.mktemp("images"))


def make_task(cfg, device=CPU):
    return ClassificationTask(ClassificationTask.settle(cfg).cfg, device)


def metrics(output, key):
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [line[key] for line in map(json.loads, lines) if key in line]


def weights(output):
    return load_file(output / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_images_are_mixed_where_they_are_trained_on(images, tmp_path, monkeypatch):
    pytest.importorskip("timm", reason="mixing is timm's")
    places = []
    mix = Mixing.__call__

    def watched(self, batch, *place):
        places.append({batch.images.device.type, batch.labels.device.type})
        return mix(self, batch, *place)

    monkeypatch.setattr(Mixing, "__call__", watched)
    cfg = tiny_classifier.config(images, tmp_path / "run", data={"mixup": 0.2})
    batch = next(make_task(cfg, torch.device("meta")).training_batches(0))
    assert places == [{"meta"}] and batch.images.is_meta and batch.targets.is_meta


def test_a_run_leaves_weights_results_and_a_backbone(images, tmp_path):
    output = train_classifier(tiny_classifier.config(images, tmp_path / "run"))
    results = json.loads((output / "results.json").read_text())
    assert 0 <= results["metrics"]["classification"]["top1_error"] <= 1
    assert results["best"]["metric"] == "classification/top1_error"
    assert len(metrics(output, "error")) == 3
    assert len(metrics(output, "classification/top1_error")) == 2
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    net = create_classifier(
        "resnet20_cifar", num_classes=2, weights=output / "model.safetensors"
    ).eval()
    backbone = create_backbone("resnet20_cifar", weights=output / "backbone.safetensors").eval()
    image = torch.rand(1, 3, 12, 12)
    torch.testing.assert_close(backbone(image)["res4"], net.features(image)["res4"])
    card = read_card(output / "backbone.safetensors")
    assert card.arch == "resnet20_cifar" and card.channel_order == "RGB"
    best = 100 * (1 - results["metrics"]["classification"]["top1_error"])
    assert card.top1 == pytest.approx(best, abs=1e-3)


def test_the_best_weights_are_those_of_the_lowest_error(images, tmp_path):
    output = train_classifier(tiny_classifier.config(images, tmp_path / "run"))
    errors = metrics(output, "classification/top1_error")
    best = json.loads((output / "results.json").read_text())["best"]
    assert best["value"] == min(errors)
    assert best["step"] == 3 * (errors.index(min(errors)) + 1)


def test_a_resumed_run_ends_with_the_same_bits(images, tmp_path, monkeypatch):
    straight = train_task(
        ClassificationTask, tiny_classifier.config(images, tmp_path / "straight", **EVERYTHING)
    )
    broken = tiny_classifier.config(images, tmp_path / "broken", **EVERYTHING)
    original = ClassificationTask.training_batches

    def interrupted(task, start):
        for number, batch in enumerate(original(task, start), start):
            if number == 3:
                raise Interrupted("in the test")
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_batches", interrupted)
        with pytest.raises(Interrupted):
            train_classifier(broken)
    train_classifier(broken, resume=True)
    assert same(weights(straight), weights(tmp_path / "broken"))
    assert metrics(straight, "loss") == metrics(tmp_path / "broken", "loss")


def test_other_images_are_not_resumed_on(images, tmp_path):
    train_classifier(tiny_classifier.config(images, tmp_path / "run"))
    other = tiny_classifier.write_images(tmp_path / "other", count=20)
    with pytest.raises(DataError, match="was trained on other annotations: dataset"):
        train_classifier(tiny_classifier.config(other, tmp_path / "run"), resume=True)


def test_a_mean_image_is_part_of_the_data_that_a_resumed_run_must_have(images, tmp_path):
    plain = tiny_classifier.config(images, tmp_path)
    cfg = tiny_classifier.config(images, tmp_path, model={"mean_image": "auto"})
    own, again = (make_task(cfg).identity() for _ in range(2))
    assert own == again and own == make_task(plain).identity() | {"mean_image": own["mean_image"]}
    task = make_task(cfg)
    task.model.pixel_mean[0, 0, 0] += 1
    assert task.identity()["mean_image"] != own["mean_image"]


def test_a_mean_image_is_exported_and_its_colour_is_in_the_card(images, tmp_path):
    cfg = tiny_classifier.config(images, tmp_path / "run", model={"mean_image": "auto"})
    task = make_task(cfg)
    mean = task.weights()["pixel_mean"]
    assert mean.shape == (3, 12, 12)
    train_classifier(cfg)
    assert torch.equal(weights(tmp_path / "run")["pixel_mean"], mean)
    card = read_card(tmp_path / "run" / "backbone.safetensors")
    assert card.mean == pytest.approx(mean.mean(dim=(1, 2)).tolist(), abs=1e-3)


def test_more_classes_than_outputs_is_said(images, tmp_path):
    cfg = tiny_classifier.config(images, tmp_path, model={"num_classes": 1})
    with pytest.raises(ConfigError, match="num_classes is 1, but the dataset has 2 classes"):
        make_task(cfg)


def test_evaluation_equals_a_plain_loop(images, tmp_path):
    task = make_task(tiny_classifier.config(images, tmp_path))
    found = task.evaluate(lambda: False)
    task.model.eval()
    wrong, total, surprise = 0, 0, 0.0
    with torch.no_grad():
        for batch in task._images.test_batches(1):
            scores = task.model.scores(batch.images)
            wrong += int((scores.argmax(1) != batch.labels).sum())
            surprise += float(F.cross_entropy(scores, batch.labels))
            total += 1
    assert found.metrics["classification"]["top1_error"] == wrong / total
    # The same network on batches of another size: float32 rounding.
    assert found.loss["loss"] == pytest.approx(surprise / total, rel=1e-4)


def test_warm_up_ends_when_the_training_error_has_fallen(images, tmp_path):
    """The paper's rule for ResNet-110; here the classes are easy, so it ends within the run."""
    solver = {"warmup_until_error": 0.9, "warmup_factor": 0.1, "lr": 0.05, "milestones": ()}
    output = train_task(
        ClassificationTask, tiny_classifier.config(images, tmp_path / "run", solver=solver)
    )
    rates = metrics(output, "lr")
    assert rates[0] == pytest.approx(0.005) and rates[-1] == pytest.approx(0.05)


def test_a_plateau_drops_the_rate(images, tmp_path, monkeypatch):
    """With an error that stands still, after `plateau_patience` evaluations without a better."""
    solver = {"schedule": "plateau", "plateau_patience": 1, "max_iter": 12, "lr": 0.01}
    cfg = tiny_classifier.config(
        images,
        tmp_path / "run",
        solver=solver | {"milestones": ()},
        evaluation={"period": 3},
        log_period=1,
    )
    fixed = {"classification": {"top1_error": 0.5}}
    monkeypatch.setattr(ClassificationEvaluator, "evaluate", lambda self: fixed)
    rates = metrics(train_classifier(cfg), "lr")
    # Best at step 3; no better at 6 and 9: the steps from 7 and from 10 on are ten times slower.
    expected = [0.01] * 6 + [0.001] * 3 + [0.0001] * 3
    assert rates == pytest.approx(expected)


def test_a_mean_image_that_is_missing_is_noticed_before_images_are_read(images, tmp_path):
    cfg = tiny_classifier.config(images, tmp_path, model={"mean_image": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match="none is not a mean image"):
        ClassificationTask.check_files(cfg)
