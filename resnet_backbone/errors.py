"""The errors that a user can cause, each with the exit code that the command-line tools return."""

from __future__ import annotations


class ResnetBackboneError(Exception):
    """Base class of every error caused by the user's input rather than by a bug in this package.

    The message says where the error is, what was found and what was expected. Command-line tools
    print it without a traceback and exit with `exit_code`.
    """

    exit_code = 70


class ConfigError(ResnetBackboneError, ValueError):
    """An invalid configuration, argument or command line; the message lists every error found.

    It is a ValueError too, which callers of torchvision's and timm's builders expect.
    """

    exit_code = 2


class WeightsError(ResnetBackboneError):
    """A weight file that cannot be read, or that does not fit the model it is loaded into."""

    exit_code = 2


class DataError(ResnetBackboneError):
    """Images or annotations that cannot be used; the message names file, id and value."""

    exit_code = 3


class StorageError(ResnetBackboneError):
    """An output folder or checkpoint that cannot be written, or a checkpoint that is damaged."""

    exit_code = 4


class DivergedError(ResnetBackboneError):
    """A loss or gradient is not finite; the last good checkpoint is left untouched."""

    exit_code = 5


class Interrupted(ResnetBackboneError):
    """The run was stopped by SIGINT or SIGTERM; its state is saved and --resume continues it."""

    exit_code = 75


class RankError(ResnetBackboneError):
    """Another rank has failed or is gone, so that this one cannot continue.

    Args:
        message: What is known of the other rank.
        exit_code: That of the other rank, if it is known.
    """

    exit_code = 69

    def __init__(self, message: str, exit_code: int = exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code
