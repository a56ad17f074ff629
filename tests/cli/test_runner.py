import os
import signal
import subprocess
import sys

import pytest

from resnet_backbone.cli import runner
from resnet_backbone.errors import (
    ConfigError,
    DataError,
    DivergedError,
    Interrupted,
    StorageError,
    WeightsError,
)


def end_of(action):
    with pytest.raises(SystemExit) as raised:
        runner.run(action)
    return raised.value.code


def raising(error):
    def main(argv):
        raise error

    return main


def test_done_is_zero_and_a_returned_code_is_kept():
    assert end_of(lambda argv: None) == 0
    assert end_of(lambda argv: 3) == 3


@pytest.mark.parametrize(
    "error, code",
    [
        (ConfigError, 2),
        (WeightsError, 2),
        (DataError, 3),
        (StorageError, 4),
        (DivergedError, 5),
        (Interrupted, 75),
    ],
)
def test_errors_of_the_user_end_with_their_code_and_without_a_traceback(error, code, capsys):
    assert end_of(raising(error("file x, id 5"))) == code
    prefix = "" if error is Interrupted else "error: "
    assert capsys.readouterr().err == f"{prefix}file x, id 5\n"


def test_a_bug_shows_its_traceback(capsys):
    assert end_of(raising(ZeroDivisionError("oops"))) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("bug: Traceback") and "ZeroDivisionError: oops" in shown


def test_ctrl_c_ends_with_the_code_of_an_interruption(capsys):
    assert end_of(raising(KeyboardInterrupt())) == 75
    assert capsys.readouterr().err == "interrupted\n"


def test_another_rank_says_which_it_is(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    end_of(raising(DataError("x")))
    assert capsys.readouterr().err == "[rank 2] error: x\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--lr", "0.01"],
            "unrecognized arguments: --lr; settings are written as key=value, for "
            "--lr: solver.lr=...",
        ),
        (["--epochs=12", "a=1"], "for --epochs: solver.epochs=..."),
        (
            ["--learning-rate", "1", "--num-workers", "2"],
            "for --learning-rate: solver.lr=...; --num-workers: data.workers=...",
        ),
        (
            ["--img-size=640"],
            "data.min_sizes=...; --img-size: data.max_size=...; --img-size: data.s",
        ),
        (["-b", "4", "-j", "2"], "for -b: solver.batch_size=...; -j: data.workers=..."),
        (["--lr-step-size", "8"], "for --lr-step-size: solver.milestones=..."),
        (["--model", "x"], "for --model: model.backbone.name=...; --model: model.name=...\n"),
        (["--num-gpus", "2"], "--num-gpus: torchrun --nproc-per-node=N -m resnet_backbone"),
        (["--cfg-options", "a=1"], "--cfg-options: write keys after the options, as in solver.lr"),
        (["--eval-only"], "--eval-only: resnet-backbone evaluate does that\n"),
        (["--overwrite"], "arguments: --overwrite; --overwrite: not needed: this command replaces"),
        (["--zzzzzz"], "unrecognized arguments: --zzzzzz\n"),
    ],
)
def test_an_option_that_is_a_key_is_answered_with_the_key(arguments, told, capsys):
    parser = runner.make_parser("train", "Trains.", "")
    parser.add_argument("overrides", nargs="*")
    with pytest.raises(SystemExit) as raised:
        parser.parse_intermixed_args(arguments)
    assert raised.value.code == 2 and told in capsys.readouterr().err


def test_a_command_without_settings_gives_no_advice_on_them(capsys):
    with pytest.raises(SystemExit):
        runner.make_parser("convert", "Converts.", "").parse_args(["--lr", "1"])
    assert "settings" not in capsys.readouterr().err


def test_ctrl_c_during_the_imports_ends_it_without_a_traceback(tmp_path):
    """A module in torch's place takes as long as the test needs."""
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    (tmp_path / "torch.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_backbone", "predict", "--weights=w", "--output=o", "a.jpg"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "interrupted\n")


def test_the_handler_of_ctrl_c_is_restored_after_the_imports():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        runner.command("compare")(["--help"])
    assert signal.getsignal(signal.SIGINT) is before
