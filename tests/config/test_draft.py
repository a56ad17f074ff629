"""What is left of a draft once it is valid is tested in test_load.py."""

from pathlib import Path

import pytest

from resnet_backbone.config.draft import MAX_SHOWN, Draft
from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError


def draft_of(*layers):
    draft = Draft(Config, Path("mine.yaml"))
    for number, layer in enumerate(layers):
        draft.merge(layer, lambda keys, number=number: f"layer {number}, {'.'.join(keys)}")
    return draft


def test_the_last_layer_says_where_a_value_is_from():
    draft = draft_of({"seed": 1, "data": {"flip": 0.25}}, {"data": {"flip": 0.75}})
    draft.override("log_period=7")
    assert draft.origins["seed",] == "layer 0, seed"
    assert draft.origins["data", "flip"] == "layer 1, data.flip"
    assert draft.origins["log_period",] == "command line"
    assert draft.layers["log_period",] > draft.layers["data", "flip"] > draft.layers["seed",]
    config = draft.validate()
    assert (config.name, config.seed, config.data.flip, config.log_period) == ("mine", 1, 0.75, 7)


def test_the_length_of_the_schedule_that_epochs_stand_for_is_that_of_the_same_layer():
    epochs = {"solver": {"epochs": 2.5, "reference_max_iter": 700}}
    solver = draft_of({"solver": {"max_iter": 900}}, epochs).validate().solver
    assert (solver.epochs, solver.max_iter, solver.reference_max_iter) == (2.5, 700, 700)
    with pytest.raises(ConfigError, match="both are set"):
        draft_of({"solver": {"epochs": 2.5, "max_iter": 700}}).validate()


def test_errors_name_the_layer_and_are_counted():
    wrong = {f"key{number}": number for number in range(MAX_SHOWN + 3)}
    with pytest.raises(ConfigError) as raised:
        draft_of({"seed": "x"}, wrong).validate()
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{MAX_SHOWN + 4} errors in the configuration mine.yaml:"
    assert len(lines) == MAX_SHOWN + 2 and lines[-1] == "  and 4 more"
    assert "  seed (layer 0, seed): " in str(raised.value)
