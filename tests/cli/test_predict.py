import json
from pathlib import Path

import commands
import numpy as np
import pytest
import tiny_classifier
import torch
from PIL import Image
from pycocotools import mask as mask_api
from tiny_rcnn import CATEGORY_IDS, save_tiny_weights

from resnet_backbone.cli import predict as predict_command
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.tasks.classification.task import ClassificationTask
from resnet_backbone.weights.files import save_weights


def call(*arguments):
    return commands.call(predict_command.main, *arguments)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/a.png"):
        Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image, and not called one")
    return folder


def test_files_and_folders(tmp_path, photos):
    weights = save_tiny_weights(tmp_path / "model.safetensors")
    output = tmp_path / "pictures"
    done = call(
        "--weights",
        weights,
        photos / "b.jpg",
        photos,
        "--output",
        output,
        "--score-threshold",
        "0.1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"3 images drawn, 0 failed; results: {output / 'predictions.json'}"
    )
    found = json.loads((output / "predictions.json").read_text())
    assert [Path(image["file_name"]).name for image in found["images"]] == [
        "b.jpg",
        "a.png",
        "a.png",
    ]
    assert [image["picture"] for image in found["images"]] == ["b.jpg", "a.jpg", "a_2.jpg"]
    for image in found["images"]:
        with Image.open(output / image["picture"]) as picture:
            assert min(picture.size) >= 400
    assert found["annotations"]
    for entry in found["annotations"]:
        assert entry["category_id"] in CATEGORY_IDS
        assert entry["score"] >= 0.1
        assert mask_api.decode(entry["segmentation"]).shape == (80, 120)
    ids = [entry["id"] for entry in found["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


@pytest.fixture
def classifier(tmp_path):
    cfg = tiny_classifier.config(tiny_classifier.write_images(tmp_path / "images"), tmp_path / "r")
    task = ClassificationTask(ClassificationTask.settle(cfg).cfg, torch.device("cpu"))
    save_weights(task.weights(), tmp_path / "classifier.safetensors", task.card(None))
    return tmp_path / "classifier.safetensors"


def test_a_classifier_names_the_most_probable_classes(tmp_path, photos, classifier):
    output = tmp_path / "named"
    done = call("--weights", classifier, photos, "--output", output, "--top", 1, "seed=3")
    assert done.returncode == 0, done.stderr
    found = json.loads((output / "predictions.json").read_text())
    assert found["class_names"] == ["dark", "light"]
    assert [image["picture"] for image in found["images"]] == ["a.jpg", "b.jpg", "a_2.jpg"]
    for image in found["images"]:
        (best,) = image["classes"]
        assert best["name"] == found["class_names"][best["class_index"]]
        assert 0.5 <= best["score"] <= 1
        with Image.open(output / image["picture"]) as picture:
            assert picture.height > picture.width * 80 / 120  # a strip below


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--score-threshold", "0.5"], "score_threshold is for detectors"),
        (["--color-by", "class"], "color_by is for detectors"),
    ],
)
def test_options_of_detectors_are_refused_for_classifiers(
    tmp_path, photos, classifier, option, message
):
    arguments = ["--weights", classifier, photos, "--output", tmp_path / "out", *option]
    with pytest.raises(ConfigError, match=f"{message}, but these are the weights of a classifier"):
        predict_command.main(list(map(str, arguments)))
    assert not (tmp_path / "out").exists()


def test_bad_images_are_all_reported_and_the_others_done(tmp_path, photos):
    weights = save_tiny_weights(tmp_path / "model.safetensors")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    done = call("--weights", weights, photos, tmp_path / "absent.png", "--output", tmp_path / "out")
    assert done.returncode == 3
    assert "failed: " in done.stdout and "broken.jpg" in done.stdout
    assert "absent.png" in done.stdout
    assert "3 images drawn, 2 failed" in done.stdout
    assert "Traceback" not in done.stderr


def test_inputs_are_never_overwritten(tmp_path, photos):
    weights = save_tiny_weights(tmp_path / "model.safetensors")
    before = (photos / "b.jpg").read_bytes()
    arguments = ["--weights", weights, photos / "b.jpg", "--output", photos]
    assert predict_command.main(list(map(str, arguments))) == 0
    assert (photos / "b.jpg").read_bytes() == before
    assert (photos / "b_2.jpg").is_file()


def test_missing_weights(tmp_path, photos):
    arguments = ["--weights", tmp_path / "none.safetensors", photos, "--output", tmp_path / "out"]
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such file"):
        predict_command.main(list(map(str, arguments)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--score-threshold", "1.5"],
        ["--score-threshold", "abc"],
        ["--thresh", "0.5"],
        ["--top", "0"],
    ],
    ids=["range", "text", "abbreviation", "count"],
)
def test_command_line_errors(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        predict_command.main(["--weights", "w", "image.jpg", "--output", str(tmp_path), *arguments])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "usage:" in shown
    if arguments[0] == "--score-threshold":
        assert f"got {arguments[1]}, expected a number from 0 to 1" in shown
    if arguments[0] == "--top":
        assert "got 0, expected a whole number from 1" in shown


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        predict_command.main(["--help"])
    assert "resnet-backbone predict --config coco_mrcnn_r50.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "image", "output", "message"),
    [
        ("", "a.png", "out", "--weights: is empty; expected a path"),
        ("w.pth", "a.png", "", "--output: is empty; expected a path"),
        ("w.pth", "", "out", "an argument is empty; expected a path or key=value"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(weights, image, output, message):
    """As it is with a shell variable that is not set."""
    done = call("--weights", weights, image, "--output", output)
    assert done.returncode == 2 and message in done.stderr
