"""What all commands share: help with examples, and documented exit codes instead of tracebacks."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from resnet_backbone.errors import Interrupted, ResnetBackboneError

EXIT_BUG = 70

Main = Callable[[list[str] | None], int | None]

# Sub-command of `resnet-backbone`, and the script in tools/ that does the same.
SCRIPTS = {
    "train": "train_net.py",
    "pretrain": "pretrain.py",
    "evaluate": "evaluate.py",
    "predict": "predict.py",
    "convert": "convert_weights.py",
    "analyze": "analyze_model.py",
    "compute-mean": "compute_mean.py",
    "compare": "compare_runs.py",
    "reproduce": "reproduce.py",
}


def make_parser(command: str, description: str | None, examples: str) -> argparse.ArgumentParser:
    """Returns the parser that every command begins with.

    Args:
        command: A key of `SCRIPTS`.
        description: The command's docstring.
        examples: Shown below the options as they are written, and the exit codes. "{train}" stands
            for how that command is called, and "{train_on_ranks}" for what torchrun takes; so for
            each command, with "_" for "-".
    """
    by_script = Path(sys.argv[0]).name == SCRIPTS[command]
    return _Parser(
        prog=None if by_script else f"resnet-backbone {command}",
        description=description,
        epilog=examples.format(**_calls(by_script)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


# Options of other frameworks' commands that are no settings.
_RANKS = "torchrun --nproc-per-node=N -m resnet_backbone ... starts N ranks"
_KEYS = "write keys after the options, as in solver.lr=0.01"
_INSTEAD = {
    **dict.fromkeys(
        ("--num-gpus", "--num_gpus", "--gpus", "--nproc-per-node", "--launcher"), _RANKS
    ),
    **dict.fromkeys(("--cfg-options", "--opts", "--set"), _KEYS),
    **dict.fromkeys(("--eval-only", "--test-only", "--eval"), "resnet-backbone evaluate does that"),
    "--auto-resume": "--resume does that",
    "--overwrite": "not needed: this command replaces its own earlier files, and no others",
}
_WITH_KEYS = ("overrides", "images")  # arguments that take keys of the configuration, too


class _Parser(argparse.ArgumentParser):
    """A parser that knows how settings are written."""

    def error(self, message: str) -> NoReturn:
        """Ends with code 2; an unknown option that is a key is answered with that key."""
        unknown = message.removeprefix("unrecognized arguments: ")
        takes_keys = any(action.dest in _WITH_KEYS for action in self._actions)
        if unknown != message and takes_keys:
            # Imported here: `--help` need not wait for it.
            from resnet_backbone.config.load import keys_meant_by

            options = [word.partition("=")[0] for word in unknown.split() if word.startswith("-")]
            instead = [f"{name}: {_INSTEAD[name]}" for name in options if name in _INSTEAD]
            hints = [
                f"{name}: {key}=..."
                for name in options
                if name not in _INSTEAD
                for key in keys_meant_by(name)
            ]
            message += "".join(f"; {line}" for line in instead)
            if hints:
                message += f"; settings are written as key=value, for {'; '.join(hints)}"
        super().error(message)


def command(name: str) -> Main:
    """Returns a function that imports a command and calls its `main`.

    Args:
        name: A key of `SCRIPTS`.
    """

    def main(argv: list[str] | None = None) -> int | None:
        with late_imports():
            module = importlib.import_module(f"resnet_backbone.cli.{name.replace('-', '_')}")
        code: int | None = module.main(argv)
        return code

    return main


@contextmanager
def late_imports() -> Iterator[None]:
    """For the imports that `--help` need not wait for; of torch above all, they take seconds.

    Ctrl-C ends the process inside the block, without a traceback, as `run` would after a
    KeyboardInterrupt. Nothing needs to be saved, and exceptions could get lost in compiled modules.
    On a terminal, a line says what takes so long, and disappears.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, _end)
    shown = sys.stderr.isatty() and "torch" not in sys.modules
    try:
        sys.stderr.write("importing torch ..." if shown else "")
        sys.stderr.flush()
        yield
        sys.stderr.write("\r\033[K" if shown else "")
    finally:
        signal.signal(signal.SIGINT, former)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    os.write(sys.stderr.fileno(), b"interrupted\n")
    os._exit(Interrupted.exit_code)


def run(main: Main) -> NoReturn:
    """Calls `main(None)`, which reads the command line, and ends the process.

    Exit codes: 0 done; those of `errors.py` for the errors users can cause; 75 after Ctrl-C; 70 for
    anything else, which is a bug and shown with its traceback.
    """
    sys.exit(exit_code(main))


def exit_code(main: Main) -> int:
    """Calls `main(None)` and returns the exit code, see `run`, having said what went wrong."""
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


def _calls(by_script: bool) -> dict[str, str]:
    """How each command is called, in the way in which this one was."""
    calls = {}
    for command, script in SCRIPTS.items():
        key = command.replace("-", "_")
        calls[key] = f"python tools/{script}" if by_script else f"resnet-backbone {command}"
        ranks = f"tools/{script}" if by_script else f"-m resnet_backbone {command}"
        calls[f"{key}_on_ranks"] = ranks
    return calls


def _complain(kind: str, text: str) -> None:
    # Imported here: `--help` need not wait for torch.
    from resnet_backbone.utils import distributed

    origin = "" if distributed.is_main() else f"[rank {distributed.rank()}] "
    sys.stderr.write(f"{origin}{kind}{text.rstrip()}\n")
