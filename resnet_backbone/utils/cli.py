"""How every tool begins and ends: with examples; with a documented exit code and no traceback."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from resnet_backbone.errors import Interrupted, ResnetBackboneError
from resnet_backbone.utils import distributed

EXIT_BUG = 70


def make_parser(description: str | None, epilog: str) -> argparse.ArgumentParser:
    """Returns the parser that every tool begins with: its examples stay as they are written.

    Args:
        description: The tool's docstring.
        epilog: Examples and exit codes.
    """
    return argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run(main: Callable[[list[str] | None], int | None]) -> NoReturn:
    """Calls `main(None)`, which reads the command line, and ends the process.

    Exit codes: 0 done; those of `errors.py` for the errors users can cause; 75 after Ctrl-C; 70 for
    anything else, which is a bug and shown with its traceback.
    """
    sys.exit(_exit_code(main))


def _exit_code(main: Callable[[list[str] | None], int | None]) -> int:
    try:
        return main(None) or 0
    except ResnetBackboneError as error:
        _complain("" if isinstance(error, Interrupted) else "error: ", str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("", "interrupted")
        return Interrupted.exit_code
    except Exception:
        _complain("bug: ", traceback.format_exc())
        return EXIT_BUG


def _complain(kind: str, text: str) -> None:
    origin = "" if distributed.is_main() else f"[rank {distributed.rank()}] "
    sys.stderr.write(f"{origin}{kind}{text.rstrip()}\n")
