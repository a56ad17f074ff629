import argparse
import json

import pytest

from resnet_backbone.cli import compare, compute_mean, convert
from resnet_backbone.cli.options import (
    add_config_options,
    add_earlier_run_options,
    files_and_overrides,
    named_path,
)
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import StorageError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import save_weights


def test_overrides_may_stand_anywhere():
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    add_earlier_run_options(parser)
    found = parser.parse_intermixed_args(["seed=3", "--resume", "--config", "a.yaml", "x.y=[1, 2]"])
    assert found.config == "a.yaml" and found.overrides == ["seed=3", "x.y=[1, 2]"]
    assert found.resume and not found.overwrite


@pytest.fixture
def commands(tmp_path):
    """Every command that writes one file, as a function of that file."""
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}))
    save_weights(create_backbone("resnet18"), tmp_path / "w.safetensors", WeightsCard())
    source, mean = str(tmp_path / "w.safetensors"), ["--config", "imagenet_r50.yaml"]
    draw, here = ["--metric", "loss", str(tmp_path)], "data.root=/nowhere"
    return {
        "convert": lambda out, *more: convert.main([source, out, "--to", "timm", *more]),
        "compare": lambda out, *more: compare.main([*draw, "--output", out, *more]),
        "mean": lambda out, *more: compute_mean.main([*mean, here, "--output", out, *more]),
    }


@pytest.mark.parametrize("name", ["convert", "compare", "mean"])
def test_a_file_is_replaced_only_if_asked(commands, tmp_path, name):
    command, out = commands[name], tmp_path / ("out.png" if name == "compare" else "out.pth")
    out.write_text("kept")
    with pytest.raises(StorageError, match=r"out\.\w+: exists; replace it with --overwrite"):
        command(str(out))
    with pytest.raises(StorageError, match="is a folder; name a file"):
        command(str(tmp_path), "--overwrite")
    with pytest.raises(StorageError, match=r"there is no folder .*absent"):
        command(str(tmp_path / "absent" / "out.pth"))
    assert out.read_text() == "kept"
    if name != "mean":  # its images are nowhere
        command(str(out), "--overwrite")
        assert out.stat().st_size > 100


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named_path("~/found") == tmp_path / "found"
    assert files_and_overrides(["~/a.jpg", "seed=1"]) == ([tmp_path / "a.jpg"], ["seed=1"])
