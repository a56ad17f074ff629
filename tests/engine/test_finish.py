"""What a run leaves behind, and what it says of it."""

import json
import logging
from datetime import datetime, timezone

import pytest
import torch
import toy
from safetensors import safe_open
from safetensors.torch import load_file

from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.finish import finish
from resnet_backbone.engine.run import begin_run
from resnet_backbone.engine.task import Settled
from resnet_backbone.errors import StorageError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _clean_options():
    toy.OPTIONS.clear()
    yield
    toy.OPTIONS.clear()


def finished(output, result=None, task=toy.ToyTask, **sections):
    cfg = toy.config(output, **sections)
    with begin_run(task, Settled(cfg), output, CPU, resume=False) as run:
        run.result = result
        run.state.progress.step = 12
        run.state.progress.best, run.state.progress.best_step = 0.5, 8
        finish(run)
    return run


RESULT = EvaluationResult(
    {"bbox": {"AP": 0.25, "APs": float("nan")}},
    {"loss": 1.5},
    "AP is low",
    {"bbox": {"circle": 0.25, "square": float("nan")}},
    images=7,
    seconds=3.5,
)


def test_results_say_what_was_found_and_what_was_best(tmp_path):
    finished(tmp_path, RESULT)
    results = json.loads((tmp_path / "results.json").read_text())
    assert datetime.fromisoformat(results.pop("date")).tzinfo == timezone.utc
    assert results == {
        "metrics": {"bbox": {"AP": 0.25, "APs": None}},
        "per_class": {"bbox": {"circle": 0.25, "square": None}},
        "loss": {"loss": 1.5},
        "explanation": "AP is low",
        "images": 7,
        "seconds": 3.5,
        "images_per_second": 2.0,
        "dataset": "six images",
        "step": 12,
        "best": {"metric": "bbox/AP", "value": 0.5, "step": 8},
    }


def test_the_log_shows_tables_and_the_explanation_as_a_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    finished(tmp_path, RESULT)
    classes, metrics = (
        m for m in caplog.messages if m.startswith(("results per class", "validation"))
    )
    assert classes.split("\n")[2:] == ["circle  0.250", "square    n/a"]
    assert metrics.split("\n")[2].split() == ["bbox", "0.250", "n/a"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["AP is low"]
    assert caplog.messages[-1] == f"weights, results and pictures are in {tmp_path}"


def test_weights_are_exported_with_what_rebuilds_the_model(tmp_path):
    run = finished(tmp_path, RESULT)
    file = tmp_path / "model.safetensors"
    for name, tensor in load_file(file).items():
        assert torch.equal(tensor, run.task.model.state_dict()[name]), name
    with safe_open(file, "pt") as stored:
        assert json.loads(stored.metadata()["class_names"]) == ["circle", "square"]


def test_averaged_weights_are_exported_and_the_trained_ones_put_back(tmp_path):
    class Moved(toy.ToyTask):
        """Whose weights have left the average, as by training."""

        def skipped(self):
            torch.nn.init.constant_(self.model.head.bias, 7.0)
            return super().skipped()

    run = finished(tmp_path, task=Moved, solver={"ema_decay": 0.9})
    assert (run.task.model.head.bias == 7).all()
    assert not (load_file(tmp_path / "model.safetensors")["head.bias"] == 7).any()


def test_without_a_result_there_are_weights_all_the_same(tmp_path):
    finished(tmp_path)
    assert not (tmp_path / "results.json").exists()
    for name in ("model.safetensors", "curves.png", "skipped_samples.json", "pictures"):
        assert (tmp_path / name).exists(), name


def test_what_was_left_out_is_listed_and_counted(tmp_path, caplog):
    toy.OPTIONS["skipped"] = ["image 3: damaged", "image 7: damaged"]
    finished(tmp_path)
    file = tmp_path / "skipped_samples.json"
    assert json.loads(file.read_text()) == {"train": toy.OPTIONS["skipped"], "val": []}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"train: 2 samples or annotations left out, see {file}"]


def test_what_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "skipped_samples.json").mkdir()
    with pytest.raises(StorageError, match=r"contains skipped_samples\.json"):
        finished(tmp_path)
