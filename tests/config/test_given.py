from pathlib import Path

import numpy as np
import pytest

from resnet_backbone.config.given import as_arguments, given_config
from resnet_backbone.config.load import load_classification_config, load_config
from resnet_backbone.config.run_schema import RunConfig
from resnet_backbone.errors import ConfigError


def test_every_way_to_write_a_value_means_the_same():
    texts = load_config("quickstart.yaml", ["solver.epochs=12", "data.root=photos"])
    for overrides, settings in (
        (["solver.epochs=12", "data.root=photos"], {}),
        ({"solver.epochs": 12, "data.root": "photos"}, {}),
        ({"solver": {"epochs": 12}}, {"data": {"root": Path("photos")}}),
        ({}, {"solver": {"epochs": np.int64(12)}, "data": {"root": "photos"}}),
        (["solver.epochs=3"], {"solver": {"epochs": 12}, "data": {"root": "photos"}}),
    ):
        found = given_config("quickstart.yaml", as_arguments(overrides, settings))
        same = {"overrides": texts.overrides}
        assert found.model_copy(update=same) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("output/x", "output/x"),
        ("12", '"12"'),  # text that would be read as a number
        ("a: b", '"a: b"'),
        ("null", '"null"'),
        (None, "null"),
        (True, "true"),
        (1e-5, "1e-05"),
        ((800, 640), "[800, 640]"),
        ("Äpfel", "Äpfel"),
    ],
)
def test_values_are_written_as_yaml_reads_them(value, text):
    assert as_arguments({"key": value}, {}) == [f"key={text}"]


def test_a_loaded_configuration_is_taken_as_it_is_or_with_other_values():
    cfg = load_config("quickstart.yaml", ["seed=1"])
    assert given_config(cfg, []) is cfg
    found = given_config(cfg, ["solver.lr=0.5"])
    assert (found.seed, found.solver.lr) == (1, 0.5)
    assert found.overrides == ("seed=1", "solver.lr=0.5")
    classifier = load_classification_config("pretrain_quickstart.yaml")
    assert given_config(classifier, ["seed=3"]).seed == 3


def test_own_files_replace_drawn_ones_in_a_loaded_configuration_too(tmp_path):
    cfg = load_config("quickstart.yaml")
    assert cfg.data.shapes is not None
    assert given_config(cfg, ["data.train.annotations=mine.json"]).data.shapes is None


@pytest.mark.parametrize(
    ("config", "overrides", "settings", "message"),
    [
        ("quickstart.yaml", {"solver.epoch": 3}, {}, r"solver\.epoch .*did you mean.*epochs"),
        ("quickstart.yaml", {}, {"seeed": 3}, "did you mean.*seed"),
        ("quickstart.yaml", "seed=3", {}, "got the text 'seed=3', expected a list or a mapping"),
        ("quickstart.yaml", {"data.root": object()}, {}, r"data\.root: a value that cannot be"),
        (3, {}, {}, "found a int, expected a configuration: a name, a file"),
        (RunConfig, {}, {}, "expected a configuration"),
    ],
)
def test_mistakes_are_told(config, overrides, settings, message):
    with pytest.raises(ConfigError, match=message):
        given_config(config, as_arguments(overrides, settings))
