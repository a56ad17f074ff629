import json
import os
import subprocess
import sys

import commands
import pytest
import tiny_classifier
from commands import TOOLS

from resnet_backbone.cli import pretrain as pretrain_command
from resnet_backbone.cli import train as train_command
from resnet_backbone.config.load import dump_config
from resnet_backbone.errors import ConfigError


@pytest.fixture
def tool(monkeypatch):
    tool = pretrain_command
    calls = []
    record = lambda *run, **flags: calls.append((*run, flags))  # noqa: E731
    monkeypatch.setattr("resnet_backbone.tasks.train.train", record)
    tool.calls = calls
    return tool


def test_the_command_line_reaches_training(tool):
    tool.main(["--config", "pretrain_quickstart.yaml", "--resume", "solver.lr=1e-4", "seed=3"])
    ((cfg, flags),) = tool.calls
    assert flags == {"resume": True, "overwrite": False}
    assert (cfg.task, cfg.name, cfg.solver.lr) == ("classification", "pretrain_quickstart", 1e-4)


def test_a_detectors_configuration_is_refused_with_the_right_tool(tool):
    with pytest.raises(ConfigError, match=r"task detection, expected classification; .*train_net"):
        tool.main(["--config", "quickstart.yaml"])
    train_net = train_command
    with pytest.raises(ConfigError, match=r"task classification, expected detection; .*pretrain"):
        train_net.main(["--config", "pretrain_quickstart.yaml"])


def test_the_configuration_is_printed_with_epochs_yet_to_be_counted(tool, capsys):
    arguments = ["--config", "imagenet_r50.yaml", "--print-config", "solver.epochs=3"]
    tool.main([*arguments, "solver.batch_size=64"])
    assert tool.calls == []
    text = capsys.readouterr().out
    assert "  epochs: 3.0 " in text and " max_iter: " not in text
    assert "in this run: 0.025\n" in text  # 0.1 * 64 / 256


def test_help_shows_commands_and_exit_codes(tool, capsys):
    with pytest.raises(SystemExit) as raised:
        tool.main(["--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert "  resnet-backbone pretrain --config imagenet_r101.yaml" in shown
    assert "75 stopped by a signal" in shown


def test_errors_are_of_one_line_and_have_their_code(tmp_path):
    arguments = ["--config", "pretrain_quickstart.yaml", f"output={tmp_path / 'run'}"]
    format_and_root = ["data.format=cifar10", "data.root=absent", "data.padding=4"]
    done = commands.call(pretrain_command.main, *arguments, *format_and_root)
    assert done.returncode == 3
    assert "error: absent: CIFAR-10 is missing or damaged" in done.stderr
    assert "Traceback" not in done.stderr


def losses(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "lr" in line]


def test_two_processes_find_what_one_finds_on_the_same_batches(tmp_path):
    """By torchrun, as the README says; with GN, as statistics of batches are each process's own."""
    images = tiny_classifier.write_images(tmp_path / "images", side=32)
    size = {"size": 32, "test_size": 32, "test_resize": 32}
    model = {"name": "resnet18", "norm": "GN"}
    cfg = tiny_classifier.config(images, tmp_path / "one", data=size, model=model)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(cfg))
    script = [str(TOOLS / "pretrain.py"), "--config", str(file)]
    port = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *port]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for command, name in (([sys.executable], "one"), (torchrun, "two")):
        subprocess.run(
            [*command, *script, f"output={tmp_path / name}"],
            check=True,
            capture_output=True,
            env=environment,
        )
    # Sums over the batch in another order; ReLUs flip by float32 rounding in six steps of SGD.
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    one, two = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("one", "two"))
    assert one["metrics"] == two["metrics"]
