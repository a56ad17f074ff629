"""docs/outputs.md names every file and key that is written, and none that is not."""

import json
import re
from pathlib import Path

import pytest
import tiny_runs

import resnet_backbone as rb
from resnet_backbone.paper.record_schema import Record
from resnet_backbone.tasks.predict_files import predict_files
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import read_metadata

PAGE = Path(__file__).resolve().parents[1] / "docs" / "outputs.md"
# Named on the page, but not written by these short runs; tested elsewhere.
ELSEWHERE = {
    "checkpoints/step_STEP/average.safetensors",  # tests/engine/test_state.py
    ".resnet_backbone.lock",  # removed at the end on some systems
    "detections.json",  # tests/cli/test_evaluate.py
    "top5_error",  # tests/evaluation/test_classification.py
    "card.licence",  # of others' weights
}
NAMES = {
    "STEP": r"\d{8}",
    "IMAGE": r"[^/]+",
    "EVENTS": r"events\.out\.[^/]+",
    "TASK": "(bbox|segm|classification)",
    "IOU": r"0\.\d+",
    "CLASS": r".+",
    "METRIC": r"\w+",
    "MISTAKE": r"[a-z]+",
    "LOSS": r"loss\w*",
    "PACKAGE": r"[\w-]+",
}


def documented(heading: str) -> set[str]:
    """The names in the first columns of the tables below a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def pattern(name: str) -> re.Pattern[str]:
    parts = re.split(f"({'|'.join(NAMES)})", name)
    return re.compile("".join(NAMES.get(part, re.escape(part)) for part in parts))


def check(heading: str, written: set[str]) -> None:
    named = documented(heading)
    assert named and written
    unnamed = {key for key in written if not any(pattern(n).fullmatch(key) for n in named)}
    assert not unnamed, f"docs/outputs.md, {heading}: does not name"
    absent = {n for n in named if not any(pattern(n).fullmatch(key) for key in written)}
    assert absent <= ELSEWHERE, f"docs/outputs.md, {heading}: never written"


def keys(value, path="") -> set[str]:
    """The paths of all values; lists of objects count as their objects."""
    if isinstance(value, dict) and value:
        inner = [(f"{path}.{key}" if path else key, each) for key, each in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        inner = [(path, each) for each in value]
    else:
        return {path}
    return set().union(*(keys(each, name) for name, each in inner))


def json_keys(*files: Path) -> set[str]:
    return set().union(*(keys(json.loads(file.read_text())) for file in files))


def files(*folders: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if not path.is_dir()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a detector's and of a classifier's run, evaluation and prediction."""
    root = tmp_path_factory.mktemp("outputs")
    made = []
    for make in (tiny_runs.detector_config, tiny_runs.classifier_config):
        data, here = root / f"{make.__name__}_data", root / make.__name__
        result = rb.train(make(data, here / "run"))
        rb.evaluate(result, output=here / "evaluation")
        predictor = result.predictor()
        image = min(data.rglob("*.png"))
        predict_files(predictor, predictor.form(), [image], here / "prediction")
        made.append(here)
    return made


@pytest.mark.parametrize("kind", ["run", "evaluation", "prediction"])
def test_files(runs, kind):
    written = files(*(run / kind for run in runs))
    check(f"The folder of a{'n' * (kind == 'evaluation')} {kind}", written)


def test_results(runs):
    places = [run / kind / "results.json" for run in runs for kind in ("run", "evaluation")]
    check("results.json", json_keys(*places))


@pytest.mark.parametrize("name", ["precision_recall.json", "confusion.json"])
def test_figures(runs, name):
    check(name, json_keys(*(runs[0] / kind / name for kind in ("run", "evaluation"))))


def test_metrics(runs):
    texts = [(run / "run" / "metrics.jsonl").read_text() for run in runs]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    check("metrics.jsonl", {key for line in lines for key in line})
    metrics = {key.rpartition("/")[2] for line in lines for key in line if "/" in key}
    losses = {key for line in lines for key in line if key.startswith("loss")}
    check("Metrics and losses", metrics | losses)


def test_predictions(runs):
    detector, classifier = (run / "prediction" / "predictions.json" for run in runs)
    check("predictions.json of a detector", json_keys(detector))
    check("predictions.json of a classifier", json_keys(classifier))


@pytest.mark.parametrize("name", ["environment.json", "skipped_samples.json"])
def test_other_files(runs, name):
    check(name, json_keys(*(run / "run" / name for run in runs)))


def test_what_is_inside_the_weights(runs):
    texts = [read_metadata(run / "run" / "model.safetensors") for run in runs]
    cards = {f"card.{key}" for text in texts for key in json.loads(text["card"])}
    check("Inside the weights", {key for text in texts for key in text} | cards)
    fields = {f"card.{name}" for name in WeightsCard.model_fields}
    assert fields == {name for name in documented("Inside the weights") if "." in name}


def test_records():
    assert documented("Recorded runs") == set(Record.model_fields)
