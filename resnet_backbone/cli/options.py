"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from resnet_backbone.errors import ConfigError


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds --config and key=value arguments; parse them with `parse_intermixed_args`."""
    parser.add_argument("--config", required=True, help="a file, or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")


def add_earlier_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds --resume and --overwrite, which say what to do with an earlier run in the output."""
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the output folder"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="remove the files of the run in the output folder, and start anew",
    )


def files_and_overrides(values: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Separates files from the key=value arguments that argparse takes for more of them."""
    files, overrides = [], []
    for value in values:
        if not value:
            raise ConfigError("an argument is empty; expected a path or key=value")
        is_key = "=" in value and not Path(value).exists()
        overrides.append(value) if is_key else files.append(Path(value))
    return files, overrides


def named_path(text: str) -> Path:
    """Returns the path that an argument names; argparse refuses an empty one.

    An empty path, of a shell variable that is not set, would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected a path")
    return Path(text)
