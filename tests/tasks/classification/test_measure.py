import pytest
import tiny_classifier
import torch

from resnet_backbone.data.labelled.build import build_images
from resnet_backbone.engine.train import train_task
from resnet_backbone.tasks.classification import measure as measuring
from resnet_backbone.tasks.classification.measure import measure_classifier
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.tasks.classification.trained import load_trained_classifier


def test_responses_and_gradients_are_those_of_the_runs_weights_on_its_images(tmp_path):
    root = tiny_classifier.write_images(tmp_path / "images")
    cfg = tiny_classifier.config(root, tmp_path / "run", model={"mean_image": "auto"})
    found = measure_classifier(train_task(ClassificationTask, cfg))
    model = load_trained_classifier(tmp_path / "run" / "model.safetensors", cfg).model
    (batch,) = build_images(cfg.data, batch_size=1, seed=0, fill=None).test_batches(100)
    with torch.no_grad():
        network = model.network
        first = network.bn1(network.conv1(model.normalize(batch.images)))
    assert [name for name, _ in found.responses][:2] == ["conv1", "layer1.0.conv1"]
    # Over all values at once instead of in parts, in float32 instead of float64.
    assert found.responses[0][1] == pytest.approx(float(first.std(correction=0)), rel=1e-4)
    assert len(found.responses) == len(found.gradients) == 19


def test_images_are_of_all_classes_and_mixed(tmp_path, monkeypatch):
    root = tiny_classifier.write_images(tmp_path / "images")
    cfg = tiny_classifier.config(root, tmp_path / "run", evaluation={"batch_size": 3})
    train_task(ClassificationTask, cfg)
    seen = []
    monkeypatch.setattr(
        measuring, "measure_run", lambda network, images, labels: seen.append((images, labels))
    )
    measure_classifier(tmp_path / "run", images=4)
    ((images, labels),) = seen
    assert len(images) == 4 and labels.sort().values.tolist() == [0, 0, 1, 1]
    assert labels.tolist() != labels.sort().values.tolist()  # files are sorted by class
