"""What the site shows and does not keep itself: files of the repository, and the commands' help."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

from resnet_backbone.cli.main import main
from resnet_backbone.cli.runner import SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/resnet-backbone/resnet-backbone/blob/main/"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces a line `{{ file NAME }}` by that file, and `{{ commands }}` by their help."""
    markdown = re.sub(r"^\{\{ file (\S+) \}\}$", _file, markdown, flags=re.MULTILINE)
    return re.sub(r"^\{\{ commands \}\}$", _commands, markdown, flags=re.MULTILINE)


def _file(match: re.Match[str]) -> str:
    """Returns a file whose links, relative to the repository, are made right for the site."""
    text = (ROOT / match[1]).read_text(encoding="utf-8")
    return re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", _link, text)


def _link(match: re.Match[str]) -> str:
    target, anchor = match[1], match[2] or ""
    pages = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
    pages |= {"CHANGELOG.md": "changelog.md", "README.md": "index.md"}
    if target in pages:
        return f"]({pages[target]}{anchor})"
    if target.startswith("docs/"):
        return f"]({target.removeprefix('docs/')}{anchor})"
    if target.startswith("examples/") and target.endswith(".ipynb"):
        return f"]({target})"
    return f"]({SOURCE}{target}{anchor})"


def _commands(_: re.Match[str]) -> str:
    os.environ["COLUMNS"] = "90"
    return "\n\n".join(f"## {name}\n\n```text\n{_help(name)}```" for name in SCRIPTS)


def _help(command: str) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return shown.getvalue()
