import json
import os
import signal
import subprocess
import sys

import commands
import numpy as np
import pytest
from commands import TOOLS
from PIL import Image
from tiny_rcnn import CLASS_NAMES, save_tiny_weights, tiny_config, write_tiny_dataset

from resnet_backbone.cli import evaluate as evaluate_command
from resnet_backbone.config.load import dump_config
from resnet_backbone.config.schema import DataConfig
from resnet_backbone.errors import ConfigError, DataError, StorageError, WeightsError
from resnet_backbone.evaluation.average_precision import METRICS


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    section = write_tiny_dataset(folder / "data")
    data = DataConfig.model_validate_json(json.dumps(section))
    cfg = tiny_config().model_copy(update={"data": data, "output": str(folder / "run")})
    (folder / "tiny.yaml").write_text(dump_config(cfg))
    save_tiny_weights(folder / "model.safetensors", cfg)
    return folder


def command(folder, *arguments):
    config, weights = folder / "tiny.yaml", folder / "model.safetensors"
    return [
        sys.executable,
        TOOLS / "evaluate.py",
        "--config",
        config,
        "--weights",
        weights,
        *arguments,
    ]


def call(folder, *arguments):
    return commands.call(evaluate_command.main, *command(folder, *arguments)[2:])


def test_results_tables_and_pictures(setup, tmp_path):
    output = tmp_path / "out"
    done = call(setup, "--output", output, "evaluation.pictures=2")
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "results.json").read_text())
    assert set(results["metrics"]) == {"bbox", "segm"}
    assert tuple(results["metrics"]["bbox"]) == METRICS
    assert set(results["per_class"]["segm"]) == set(CLASS_NAMES)
    assert results["errors"]["segm"]["missed"]["count"] >= 0
    assert "bbox: AP50 they cost" in done.stdout
    assert results["loss"]["loss"] > 0
    assert sorted(path.name for path in (output / "pictures").glob("*.jpg")) == ["1.jpg", "2.jpg"]
    assert list((output / "pictures" / "worst").glob("*.jpg"))
    assert "AP50" in done.stdout and "disc" in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert str(output / "results.json") in last and str(output / "pictures") in last


def test_the_range_of_sixteen_bits_is_that_of_the_training(setup, tmp_path, capfd):
    """In the weights, as test sizes are, not that of the images that are judged."""
    cfg = tiny_config()
    data = cfg.data.model_copy(update={"bit_depth": 12})
    weights = tmp_path / "model.safetensors"
    save_tiny_weights(weights, cfg.model_copy(update={"data": data}))
    section = write_tiny_dataset(tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * 3).save(path)  # up to 765, 10 bits
    options = ("--output", tmp_path / "out", f"data.root={section['root']}")
    done = call(setup, "--weights", weights, *options)
    assert done.returncode == 0, done.stderr
    said = capfd.readouterr().err + done.stderr
    assert "data.bit_depth=12, as in the training of these weights" in said
    assert "12 bits are taken as the range from black to white (data.bit_depth)" in said


def test_wrong_class_count(setup, tmp_path):
    done = call(setup, "--output", tmp_path, "model.num_classes=80")
    assert done.returncode == 2
    assert "have 3 classes, but model.num_classes is 80" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results.json").exists()


def inside(folder, *arguments):
    """Runs the tool in this process."""
    evaluate_command.main(list(map(str, command(folder, *arguments)[2:])))


def test_without_output_it_goes_beside_the_run(setup):
    inside(setup, "evaluation.pictures=0", "evaluation.loss=false")
    results = json.loads((setup / "run" / "evaluation" / "results.json").read_text())
    assert results["loss"] is None


def test_weights_of_ours_need_no_configuration(setup, tmp_path):
    """The results are those with it, and lie beside the weights."""
    evaluate_command.main(["--weights", str(setup / "model.safetensors"), "evaluation.pictures=0"])
    inside(setup, "--output", tmp_path, "evaluation.pictures=0")
    files = (setup / "evaluation" / "results.json", tmp_path / "results.json")
    alone, configured = (json.loads(file.read_text()) for file in files)
    for name in ("metrics", "per_class", "loss", "images", "dataset"):
        assert alone[name] == configured[name]
    with pytest.raises(ConfigError, match=r"inside .*model\.safetensors:\n  evaluation.pictuers"):
        evaluate_command.main(
            ["--weights", str(setup / "model.safetensors"), "evaluation.pictuers=0"]
        )


def test_no_prediction_above_the_threshold_is_explained(setup, tmp_path, capsys):
    inside(setup, "--output", tmp_path, "model.roi.score_threshold=1.0")
    output = capsys.readouterr().out
    assert "AP is zero: there are no predictions" in output
    assert "the threshold is 1" in output


def test_annotations_of_other_classes(setup, tmp_path):
    path = setup / "data" / "annotations" / "other.json"
    content = json.loads((setup / "data" / "annotations" / "val.json").read_text())
    content["categories"].append({"id": 9, "name": "star"})
    content["annotations"][0]["category_id"] = 9
    path.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"(?s)does not have: star\n  4 in .*\n  3 in "):
        inside(setup, "--output", tmp_path, "data.val.annotations=annotations/other.json")


def test_bad_annotations_that_are_skipped_do_not_reach_the_judge(setup, tmp_path):
    path = setup / "data" / "annotations" / "bad.json"
    content = json.loads((setup / "data" / "annotations" / "val.json").read_text())
    # COCO's code would never return from this polygon, nor survive this run length.
    endless = {"id": 90, "segmentation": [[1.0, 1.0, float("nan"), 5.0, 9.0, 9.0]]}
    deadly = {"id": 91, "segmentation": {"size": [0, 640], "counts": [1]}, "iscrowd": 1}
    content["annotations"] += [content["annotations"][0] | bad for bad in (endless, deadly)]
    path.write_text(json.dumps(content))
    bad = "data.val.annotations=annotations/bad.json"
    with pytest.raises(DataError, match="2 defects"):
        inside(setup, "--output", tmp_path, bad)
    inside(setup, "--output", tmp_path, bad, "data.on_bad_sample=skip")
    assert (tmp_path / "results.json").exists()


def test_a_bad_image_ends_it_or_counts_as_missed(setup, tmp_path, caplog):
    section = write_tiny_dataset(tmp_path / "data")
    (tmp_path / "data" / "val" / "2.png").write_bytes(b"no image")
    root = f"data.root={section['root']}"
    with pytest.raises(DataError, match=r"2\.png"):
        inside(setup, "--output", tmp_path / "out", root)
    assert not (tmp_path / "out" / "results.json").exists()
    inside(setup, "--output", tmp_path / "out", root, "data.on_bad_sample=skip")
    assert "1 of 4 images were not evaluated" in caplog.text


def test_config_typo(setup, tmp_path):
    with pytest.raises(ConfigError, match="evaluation.pictuers"):
        inside(setup, "--output", tmp_path, "evaluation.pictuers=2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_without_results(setup, tmp_path, number):
    section = write_tiny_dataset(tmp_path / "data", count=600)
    overrides = [f"data.root={section['root']}", "evaluation.batch_size=1"]
    process = subprocess.Popen(
        list(map(str, command(setup, "--output", tmp_path / "out", *overrides))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if ": 600 images" in line:
            process.send_signal(number)
            break
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 75, "".join(lines) + rest
    assert "evaluation stopped by a signal after" in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "out" / "results.json").exists()


def test_two_ranks_give_the_result_of_one(setup, tmp_path):
    arguments = ["evaluation.pictures=1", "data.workers=0"]
    alone = call(setup, "--output", tmp_path / "one", *arguments)
    assert alone.returncode == 0, alone.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    both = subprocess.run(
        [*torchrun, *map(str, command(setup, "--output", tmp_path / "two", *arguments)[1:])],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert both.returncode == 0, both.stderr
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")
    )
    assert one["metrics"] == two["metrics"]
    assert one["loss"] == pytest.approx(two["loss"])
    assert both.stdout.count("results:") == 1


def test_without_annotations_the_detections_are_written_for_the_server(setup, tmp_path, capsys):
    """COCO's test files have no list of annotations."""
    content = json.loads((setup / "data" / "annotations" / "val.json").read_text())
    del content["annotations"]
    (setup / "data" / "annotations" / "test.json").write_text(json.dumps(content))
    key = "data.val.annotations=annotations/test.json"
    inside(setup, "--output", tmp_path, key, "evaluation.pictures=1")
    found = json.loads((tmp_path / "detections.json").read_text())
    assert {entry["image_id"] for entry in found} <= {1, 2, 3, 4} and found
    assert set(found[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert "nothing was computed" in capsys.readouterr().out
    assert (tmp_path / "pictures" / "1.jpg").exists()
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == {}


def test_results_of_others_are_not_replaced(setup, tmp_path):
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(StorageError, match=r"contains results\.json, which this evaluation"):
        inside(setup, "--output", tmp_path)
    assert (tmp_path / "results.json").read_text() == "mine"
