"""The errors that users can cause, each with the exit code its tool ends with."""

from __future__ import annotations


class ResnetBackboneError(Exception):
    """Base of every error that is about the user's input rather than about our code.

    The message says where, what was found and what was expected; tools print it without a traceback
    and end with `exit_code`.
    """

    exit_code = 70


class ConfigError(ResnetBackboneError):
    """A configuration or command line that cannot be run; holds every defect found."""

    exit_code = 2


class WeightsError(ResnetBackboneError):
    """A weight file that cannot be read, or that does not fit the model it was meant for."""

    exit_code = 2


class DataError(ResnetBackboneError):
    """Images or annotations that cannot be used; names file, id and value."""

    exit_code = 3


class StorageError(ResnetBackboneError):
    """An output folder or checkpoint that cannot be written, or read back intact."""

    exit_code = 4


class DivergedError(ResnetBackboneError):
    """A loss that is no longer finite; the last good checkpoint is untouched."""

    exit_code = 5


class Interrupted(ResnetBackboneError):
    """SIGINT or SIGTERM was honoured: the state is saved, and --resume goes on from there."""

    exit_code = 75
