"""Names that users have given, in matplotlib's figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from resnet_backbone.report.fonts import font_file

LONGEST = 24  # letters


def show_names(texts: Iterable[Text]) -> None:
    """Gives texts a font that has their letters, and lets "$" mean itself, not mathematics."""
    for text in texts:
        text.set_parse_math(False)
        content = text.get_text()
        if not content.isascii() and (file := font_file(content)) is not None:
            text.set_fontproperties(FontProperties(fname=file, size=text.get_fontsize()))


def save_figure(figure: Figure, out: Path) -> None:
    """Writes a figure with names; of letters that no font has, only `show_names` tells."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(out)


def short(name: str) -> str:
    """Returns a name with at most `LONGEST` letters."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
