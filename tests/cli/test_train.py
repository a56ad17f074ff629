import subprocess
import sys

import pytest
from commands import TOOLS

from resnet_backbone.cli import train as train_command
from resnet_backbone.errors import ConfigError


@pytest.fixture
def tool(monkeypatch):
    tool = train_command
    calls = []
    record = lambda *run, **flags: calls.append((*run, flags))  # noqa: E731
    monkeypatch.setattr("resnet_backbone.tasks.train.train", record)
    tool.calls = calls
    return tool


def test_the_command_line_reaches_training(tool):
    tool.main(["--config", "quickstart.yaml", "--resume", "solver.lr=1e-4", "seed=3"])
    ((cfg, flags),) = tool.calls
    assert flags == {"resume": True, "overwrite": False}
    assert (cfg.name, cfg.solver.lr, cfg.seed) == ("quickstart", 1e-4, 3)
    assert cfg.overrides == ("solver.lr=1e-4", "seed=3")


def test_flags_and_overrides_come_in_any_order(tool):
    tool.main(["seed=3", "--overwrite", "--config", "quickstart.yaml", "log_period=1"])
    ((cfg, flags),) = tool.calls
    assert flags == {"resume": False, "overwrite": True}
    assert (cfg.seed, cfg.log_period) == (3, 1)


@pytest.mark.parametrize(
    "arguments", [[], ["--config"], ["--conf", "x"], ["--config", "x", "--resum"]]
)
def test_a_wrong_command_line_ends_with_code_2(tool, arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        tool.main(arguments)
    assert raised.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_help_shows_commands_and_exit_codes(tool, capsys):
    with pytest.raises(SystemExit) as raised:
        tool.main(["--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert "  resnet-backbone train --config quickstart.yaml" in shown
    assert "-m resnet_backbone train --config coco_mrcnn_r50.yaml --resume" in shown
    assert "75 stopped by a signal" in shown


def test_the_configuration_is_printed_with_origins_and_what_the_batch_changes(tool, capsys):
    tool.main(["--config", "coco_mrcnn_r50.yaml", "--print-config", "seed=3"])
    assert tool.calls == []
    lines = {line.split(":")[0].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert lines["seed"].split() == ["seed:", "3", "#", "command", "line"]
    assert lines["mask"].endswith("# coco_mrcnn_r50.yaml, line 14")
    # The linear rule, for the default of 2 images on one device: 0.02 * 2 / 16, 90,000 * 8.
    assert lines["lr"].endswith("# default; in this run: 0.0025")
    assert lines["max_iter"].endswith("# default; in this run: 720000")
    assert lines["milestones"].endswith("# default; in this run: [480000, 640000]")
    assert lines["scale"].endswith("true                             # default")


def test_all_errors_of_the_configuration_come_at_once(tool):
    with pytest.raises(ConfigError, match="2 errors"):
        tool.main(["--config", "quickstart.yaml", "solver.lrr=1", "sede=2"])
    assert tool.calls == []


def test_as_a_script_it_ends_with_the_documented_code():
    done = subprocess.run(
        [sys.executable, TOOLS / "train_net.py", "--config", "no_such.yaml"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no file 'no_such.yaml'")
    assert "Traceback" not in done.stderr


def test_without_detectron2_its_engine_says_how_to_get_it(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(ConfigError, match="detectron2 is not installed; .* git clone https://"):
        tool.main(["--engine", "detectron2", "--config", "quickstart.yaml"])
    assert tool.calls == []
