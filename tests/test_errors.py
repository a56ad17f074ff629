"""Errors as tools and other ranks see them: exit codes, and that they survive a message."""

import inspect
import os
import pickle
import re

import pytest

from resnet_backbone import errors
from resnet_backbone.cli import main as console
from resnet_backbone.cli import runner
from resnet_backbone.errors import ResnetBackboneError

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]

# What scripts may rely on.
CODES = {
    "ResnetBackboneError": 70,
    "ConfigError": 2,
    "WeightsError": 2,
    "DataError": 3,
    "StorageError": 4,
    "DivergedError": 5,
    "RankError": 69,
    "Interrupted": 75,
}


def test_exit_codes():
    assert {kind.__name__: kind.exit_code for kind in ERRORS} == CODES
    # sysexits.h: an error in the program, and one that goes away when it is tried again.
    assert (errors.ResnetBackboneError.exit_code, runner.EXIT_BUG) == (os.EX_SOFTWARE,) * 2
    assert errors.Interrupted.exit_code == os.EX_TEMPFAIL


def test_an_argument_that_is_not_allowed_is_a_value_error():
    """As the callers of torchvision's and timm's builders expect."""
    assert issubclass(errors.ConfigError, ValueError)
    others = [kind for kind in ERRORS if kind is not errors.ConfigError]
    assert not any(issubclass(kind, ValueError) for kind in others)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_command_ends_with_the_code_and_the_message_alone(kind, capsys):
    def main(_arguments):
        raise kind("images/a.png: damaged")

    assert runner.exit_code(main) == kind.exit_code
    shown = capsys.readouterr().err
    assert shown.endswith("images/a.png: damaged\n") and "Traceback" not in shown


@pytest.mark.parametrize("command", runner.SCRIPTS)
def test_the_help_of_every_command_names_codes_that_there_are(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        console.main([command, "--help"])
    _, _, codes = capsys.readouterr().out.partition("exit codes: ")
    named = set(map(int, re.findall(r"\b\d+\b", codes)))
    assert 0 in named and 2 in named
    assert named <= {0, *CODES.values()}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_travels_between_ranks_as_it_is(kind):
    """`distributed.on_main` sends the main rank's to all."""
    found = pickle.loads(pickle.dumps(kind("a.yaml: 2 errors\n  x\n  y")))  # noqa: S301
    assert type(found) is kind and str(found) == "a.yaml: 2 errors\n  x\n  y"
    assert found.exit_code == kind.exit_code


def test_all_can_be_caught_as_one_and_none_is_of_pythons():
    assert all(issubclass(kind, ResnetBackboneError) for kind in ERRORS)
    assert ResnetBackboneError.__bases__ == (Exception,)
