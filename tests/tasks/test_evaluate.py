"""Evaluation from Python; the command's options are tested in tests/cli/test_evaluate.py."""

import json

import pytest
import tiny_runs

from resnet_backbone.config.load import dump_config
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.tasks.evaluate import evaluate
from resnet_backbone.tasks.train import train


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    root = tmp_path_factory.mktemp("detector")
    return train(tiny_runs.detector_config(root / "data", root / "run"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    root = tmp_path_factory.mktemp("classifier")
    return train(tiny_runs.classifier_config(root / "data", root / "run"))


def test_a_detectors_figures_repeat_its_last_evaluation(detector):
    found = evaluate(detector)
    assert found.bbox.AP == detector.bbox.AP and found.segm.AP50 == detector.segm.AP50
    assert found.output == detector.output / "evaluation"
    written = json.loads((found.output / "results.json").read_text())
    assert {name: written[name] for name in found.to_dict()} == found.to_dict()
    assert "bbox" in str(found)


def test_a_classifiers_figures_repeat_its_last_evaluation(classifier, tmp_path):
    found = evaluate(classifier.output, output=tmp_path)
    assert found.classification == classifier.classification
    assert found.output == tmp_path and (tmp_path / "results.json").is_file()


def test_other_values_and_other_configurations(detector, tmp_path):
    small = evaluate(detector, data={"val": {"limit": 2}}, output=tmp_path / "a")
    assert (small.images, evaluate(detector, output=tmp_path / "b").images) == (2, 4)
    cfg = tiny_runs.detector_config(detector.output.parent / "data", tmp_path / "c")
    file = tmp_path / "mine.yaml"
    file.write_text(dump_config(cfg))
    for config in (cfg, file):
        found = evaluate(detector.weights, config, ["data.val.limit=2"])
        assert found.images == 2 and found.output == tmp_path / "c" / "evaluation"


def test_several_classifiers_are_an_ensemble_and_several_detectors_are_not(
    detector, classifier, tmp_path
):
    alike = evaluate([classifier, classifier.weights], output=tmp_path)
    assert alike.classification == classifier.classification
    with pytest.raises(ConfigError, match="2 files, but detectors are evaluated one at a time"):
        evaluate([detector, detector])
    with pytest.raises(ConfigError, match="there are none"):
        evaluate([])


def test_what_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(WeightsError, match="absent"):
        evaluate(tmp_path / "absent.safetensors")
