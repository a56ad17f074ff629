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


@pytest.mark.parametrize("period", [0, 55])
def test_a_later_period_replaces_a_number_of_evaluations(period):
    draft = draft_of({"evaluation": {"times": 4}}, {"evaluation": {"batch_size": 3}})
    assert draft.tree["evaluation"]["times"] == 4
    draft.override(f"evaluation.period={period}")
    found = draft.validate().evaluation
    assert (found.period, found.times, found.batch_size) == (period, None, 3)
    assert draft.origins["evaluation", "times"] == "since evaluation.period is set"
    later = draft_of({"evaluation": {"period": period}}, {"evaluation": {"times": 4}})
    assert later.validate().evaluation.times == 4
    dump = draft_of({"evaluation": {"period": 165, "times": 4}}).validate().evaluation
    assert (dump.period, dump.times) == (165, 4)


@pytest.mark.parametrize("order", [("period=55", "times=4"), ("times=4", "period=55")])
def test_a_period_and_a_number_of_evaluations_exclude_each_other(order):
    draft = draft_of({})
    for argument in order:
        draft.override(f"evaluation.{argument}")
    with pytest.raises(ConfigError, match=r"period and evaluation\.times: both are set"):
        draft.validate()


def test_errors_name_the_layer_and_are_counted():
    wrong = {f"key{number}": number for number in range(MAX_SHOWN + 3)}
    with pytest.raises(ConfigError) as raised:
        draft_of({"seed": "x"}, wrong).validate()
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{MAX_SHOWN + 4} errors in the configuration mine.yaml:"
    assert len(lines) == MAX_SHOWN + 2 and lines[-1] == "  and 4 more"
    assert "  seed (layer 0, seed): " in str(raised.value)
