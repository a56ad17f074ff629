"""Options that several commands share."""

from __future__ import annotations

import argparse


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds --config and the key=value arguments: read them with `parse_intermixed_args`."""
    parser.add_argument("--config", required=True, help="a file, or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the config")


def add_earlier_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds --resume and --overwrite: what to do with a run that the output folder holds."""
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output")
    parser.add_argument("--overwrite", action="store_true", help="discard the run in the output")
