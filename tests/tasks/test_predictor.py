"""One name for both predictors."""

import pytest
import tiny_classifier
import torch
from tiny_rcnn import save_tiny_weights, tiny_config

import resnet_backbone as rb
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.weights.files import read_state_dict, save_weights

IMAGE = torch.zeros(3, 20, 30, dtype=torch.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return save_tiny_weights(tmp_path_factory.mktemp("detector") / "m.safetensors")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    cfg = tiny_classifier.config(tiny_classifier.write_images(folder / "images"), folder / "run")
    task = ClassificationTask(ClassificationTask.settle(cfg).cfg, torch.device("cpu"))
    save_weights(task.weights(), folder / "m.safetensors", task.card(None))
    return folder / "m.safetensors"


def test_the_file_says_what_it_is(detector, classifier):
    found = rb.Predictor(detector)
    assert isinstance(found(IMAGE), rb.Prediction)
    assert repr(found) == "Predictor of a detector: 3 classes, square, disc, bar"
    found = rb.Predictor(classifier)
    assert isinstance(found(IMAGE, image_id=3), rb.Classification)
    assert [one.image_id for one in found([IMAGE, IMAGE], image_id=3)] == [3, 4]
    assert repr(found) == "Predictor of a classifier: 2 classes, dark, light"
    assert found.class_names == ("dark", "light") and not found.model.training
    assert found.cfg.task == "classification"


def test_the_configuration_says_it_where_the_file_does_not(classifier, tmp_path):
    save_weights(read_state_dict(classifier), tmp_path / "bare.safetensors", {})
    cfg = rb.Predictor(classifier).cfg
    assert isinstance(rb.Predictor(tmp_path / "bare.safetensors", cfg)(IMAGE), rb.Classification)


def test_arguments_of_the_other_task_are_refused(detector, classifier):
    with pytest.raises(ConfigError, match="top is for classifiers, .* weights of a detector"):
        rb.Predictor(detector, top=3)
    with pytest.raises(ConfigError, match="score_threshold is for detectors, .* of a classifier"):
        rb.Predictor(classifier, score_threshold=0.5)
    assert rb.Predictor(detector).form("instance")
    with pytest.raises(ConfigError, match="color_by is for detectors, .* of a classifier"):
        rb.Predictor(classifier).form("class")
    with pytest.raises(ConfigError, match="RunConfig is neither"):
        rb.Predictor(detector, RunConfig(task="other"))


def test_each_argument_arrives(detector, classifier):
    assert len(rb.Predictor(classifier, top=1)(IMAGE)) == 1
    assert len(rb.Predictor(classifier)(IMAGE)) == 2
    assert len(rb.Predictor(detector, score_threshold=1.0)(IMAGE)) == 0
    assert len(rb.Predictor(detector, tiny_config(), score_threshold=0.0)(IMAGE)) > 0
