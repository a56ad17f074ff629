import argparse

from resnet_backbone.cli.options import add_config_options, add_earlier_run_options


def test_overrides_may_stand_anywhere():
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    add_earlier_run_options(parser)
    found = parser.parse_intermixed_args(["seed=3", "--resume", "--config", "a.yaml", "x.y=[1, 2]"])
    assert found.config == "a.yaml" and found.overrides == ["seed=3", "x.y=[1, 2]"]
    assert found.resume and not found.overwrite
