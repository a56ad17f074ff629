"""Imports the user's modules that a configuration names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from resnet_backbone.errors import ConfigError


def import_modules(names: Sequence[str]) -> None:
    """Imports modules for their side effects, which are to register backbones.

    As with `python -m`, the current directory is searched first. It stays on `sys.path`, so that
    processes started later find the modules too.

    Args:
        names: Dotted names of modules; a module that is already imported is not run again.

    Raises:
        ConfigError: a module does not exist or cannot be imported; the message says which and why.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # anything that the user's code raises
            raise ConfigError(f"imports: {name}: {_reason(name, error, here)}") from error


def _reason(name: str, error: Exception, here: str) -> str:
    if name.endswith(".py"):
        module = name.removesuffix(".py").replace("/", ".")
        return f"got a file, expected a module name ({module})"
    if isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0]):
        return f"no such module, neither in {here} nor among the installed packages"
    text = f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError) or frame.filename.startswith("<frozen"):
        return text  # it already says where, or concerns the name itself
    return f"{text} ({frame.filename}, line {frame.lineno})"
