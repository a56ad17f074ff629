"""The user's own modules, imported because a configuration names them."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from resnet_backbone.errors import ConfigError


def import_modules(names: Sequence[str]) -> None:
    """Imports modules for what they do when imported: registering backbones.

    They are looked for as `python -m` would: in the current directory first, which stays on
    `sys.path` so that processes started later find them too.

    Args:
        names: Dotted names of modules; what was imported before is not run again.

    Raises:
        ConfigError: a module does not exist, or fails; says which, and the reason.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(f"imports: {name}: {_reason(name, error, here)}") from error


def _reason(name: str, error: Exception, here: str) -> str:
    if name.endswith(".py"):
        module = name.removesuffix(".py").replace("/", ".")
        return f"got a file, expected the name of a module ({module})"
    if isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition(".")[0]):
        return f"no such module, neither in {here} nor among the installed packages"
    text = f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError) or frame.filename.startswith("<frozen"):
        return text  # which says where, or is about the name itself
    return f"{text} ({frame.filename}, line {frame.lineno})"
