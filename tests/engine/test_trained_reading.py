"""Test sizes and range come from the weights, unless the command line says otherwise."""

from resnet_backbone.config.schema import Config
from resnet_backbone.engine.trained_reading import read_as_trained

KEYS = ("test_min_size", "test_max_size")


def config(short, long, *overrides):
    data = {"test_min_size": short, "test_max_size": long, "flip": 0.25}
    return Config.model_validate({"data": data, "overrides": overrides})


def sizes(cfg):
    return cfg.data.test_min_size, cfg.data.test_max_size


def test_the_weights_know_better_and_it_is_said(caplog):
    found = read_as_trained(config(800, 1333), config(64, 96), KEYS)
    assert sizes(found) == (64, 96) and found.data.flip == 0.25
    assert "data.test_min_size=64, data.test_max_size=96, as in the training" in caplog.text
    assert "says data.test_min_size=800, data.test_max_size=1333" in caplog.text


def test_what_the_command_line_says_holds(caplog):
    given = config(800, 1333, "data.test_min_size=800")
    assert sizes(read_as_trained(given, config(64, 96), KEYS)) == (800, 96)
    assert "test_min_size=64" not in caplog.text
    caplog.clear()
    given = config(800, 1333, *(f"data.{key}=1" for key in KEYS))
    assert sizes(read_as_trained(given, config(64, 96), KEYS)) == (800, 1333)
    assert sizes(read_as_trained(config(64, 96), config(64, 96), KEYS)) == (64, 96)
    assert caplog.text == ""


def test_what_training_settled_is_known_and_what_it_left_open_is_not(caplog):
    """The range of 16 bits is settled by the largest training value, if there is any."""
    unknown, twelve = config(64, 96), config(64, 96)
    twelve = twelve.model_copy(update={"data": twelve.data.model_copy(update={"bit_depth": 12})})
    found = read_as_trained(unknown, twelve, (*KEYS, "bit_depth"))
    assert found.data.bit_depth == 12 and sizes(found) == (64, 96)
    assert "data.bit_depth=12, as in the training of these weights; the configuration says" in (
        caplog.text
    )
    assert read_as_trained(twelve, unknown, (*KEYS, "bit_depth")) is twelve
