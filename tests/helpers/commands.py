"""Commands called in this process, as their scripts would be, without the seconds of an import."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from resnet_backbone.cli.runner import exit_code

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@dataclass
class Done:
    """What subprocess.run would return."""

    returncode: int
    stdout: str
    stderr: str


def call(main, *arguments) -> Done:
    """Calls a command's `main`, errors turned into exit codes and messages."""
    words = list(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = exit_code(lambda _: main(words))
        except SystemExit as end:  # of argparse
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())
