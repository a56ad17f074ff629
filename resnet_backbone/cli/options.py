"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from resnet_backbone.errors import ConfigError, StorageError


def add_config_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Adds --config and key=value arguments; parse them with `parse_intermixed_args`.

    Args:
        parser: Where they are added.
        default: What is used without --config, for the help; None requires it.
    """
    text = "a file, or the name of a shipped one"
    parser.add_argument(
        "--config", required=default is None, help=f"{text}; {default}" if default else text
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")


def add_print_config_option(parser: argparse.ArgumentParser) -> None:
    """Adds --print-config, see `print_config`."""
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print every key, its value and where it was written; nothing is trained",
    )


def print_config(name_or_path: str, overrides: Sequence[str]) -> None:
    """Prints a configuration with the origin of each value, and what the batch size changes."""
    from resnet_backbone.config.annotate import annotate
    from resnet_backbone.config.load import as_tree, load_with_origins
    from resnet_backbone.engine.schedule import changes_by_batch

    cfg, origins = load_with_origins(name_or_path, overrides)
    print(annotate(as_tree(cfg), origins, changes_by_batch(cfg)), end="")


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


def add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite for commands that write one file; ask `refuse_existing` before any work."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output file if it exists"
    )


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raises StorageError if the output is a folder, is in none, or exists and is to be kept."""
    if output.is_dir():
        raise StorageError(f"{output}: is a folder; name a file")
    if not output.parent.is_dir():
        raise StorageError(f"{output}: there is no folder {output.parent}")
    if os.path.lexists(output) and not overwrite:
        raise StorageError(f"{output}: exists; replace it with --overwrite, or name another file")


def files_and_overrides(values: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Separates files from the key=value arguments that argparse takes for more of them."""
    files, overrides = [], []
    for value in values:
        if not value:
            raise ConfigError("an argument is empty; expected a path or key=value")
        is_key = "=" in value and not Path(value).exists()
        overrides.append(value) if is_key else files.append(named_path(value))
    return files, overrides


def named_path(text: str) -> Path:
    """Returns the path that an argument names; argparse refuses an empty one.

    An empty path, of a shell variable that is not set, would be the current folder. "~" is the home
    folder, which shells do not expand in `--output=~/runs`.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty; expected a path")
    return Path(os.path.expanduser(text))
