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
