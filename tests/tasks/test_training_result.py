import json

import pytest
import tiny_runs

from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.tasks.train import train
from resnet_backbone.tasks.training_result import TrainingResult


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return train(tiny_runs.detector_config(root / "data", root / "run"))


def test_the_figures_are_those_of_the_files(run):
    results = json.loads((run.output / "results.json").read_text())
    assert run.step == results["step"] == 4
    assert run.metrics["segm"]["AP"] == results["metrics"]["segm"]["AP"] == run.segm.AP
    assert (run.best.metric, run.best.value) == ("segm/AP", results["best"]["value"])
    assert run.per_class["bbox"].keys() == {"square", "disc", "bar"}
    assert run.weights == run.output / "model.safetensors" and run.weights.is_file()
    assert run.best.weights.parent.parent == run.output / "best" and run.best.weights.is_file()


def test_the_history_has_losses_and_evaluations(run):
    assert [line["step"] for line in run.history if "lr" in line] == [2, 4]
    evaluations = [line for line in run.history if "bbox/AP" in line]
    assert [line["step"] for line in evaluations] == [2, 4]
    assert evaluations[-1]["bbox/AP"] == run.bbox.AP


def test_as_text_and_as_plain_values(run):
    assert repr(run).startswith(f"{run.output}, 4 steps\n") and "AP50" in repr(run)
    assert json.loads(json.dumps(run.to_dict(), allow_nan=False))["best"]["metric"] == "segm/AP"


def test_its_predictors(run, tmp_path):
    image = run.output.parent / "data" / "val" / "1.png"
    assert len(run.predictor(score_threshold=0.0)(image)) > 0
    assert run.predictor(best=True).class_names == ("square", "disc", "bar")
    weights = run.weights.rename(tmp_path / "away")
    try:
        with pytest.raises(WeightsError, match="model.safetensors"):
            run.predictor()
    finally:
        weights.rename(run.weights)


def test_an_earlier_run_is_read_from_its_folder(run):
    assert TrainingResult.read(str(run.output)).to_dict() == run.to_dict()


def test_other_folders_are_refused(run, tmp_path):
    with pytest.raises(StorageError, match="no finished run: there is no results.json"):
        TrainingResult.read(tmp_path)
    for content, message in (("{", "not JSON"), ('{"metrics": {}}', "not that of a run")):
        (tmp_path / "results.json").write_text(content)
        (tmp_path / "metrics.jsonl").write_text("")
        with pytest.raises(StorageError, match=message):
            TrainingResult.read(tmp_path)
