"""Test sizes come from the weights, unless the command line says otherwise."""

from resnet_backbone.config.schema import Config
from resnet_backbone.engine.trained_sizes import at_trained_sizes

KEYS = ("test_min_size", "test_max_size")


def config(short, long, *overrides):
    data = {"test_min_size": short, "test_max_size": long, "flip": 0.25}
    return Config.model_validate({"data": data, "overrides": overrides})


def sizes(cfg):
    return cfg.data.test_min_size, cfg.data.test_max_size


def test_the_weights_know_better_and_it_is_said(caplog):
    found = at_trained_sizes(config(800, 1333), config(64, 96), KEYS)
    assert sizes(found) == (64, 96) and found.data.flip == 0.25
    assert "data.test_min_size=64, data.test_max_size=96, as in the training" in caplog.text
    assert "says data.test_min_size=800, data.test_max_size=1333" in caplog.text


def test_what_the_command_line_says_holds(caplog):
    given = config(800, 1333, "data.test_min_size=800")
    assert sizes(at_trained_sizes(given, config(64, 96), KEYS)) == (800, 96)
    assert "test_min_size=64" not in caplog.text
    caplog.clear()
    given = config(800, 1333, *(f"data.{key}=1" for key in KEYS))
    assert sizes(at_trained_sizes(given, config(64, 96), KEYS)) == (800, 1333)
    assert sizes(at_trained_sizes(config(64, 96), config(64, 96), KEYS)) == (64, 96)
    assert caplog.text == ""
