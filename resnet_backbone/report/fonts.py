"""Fonts for labels in any script."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache, lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

logger = logging.getLogger(__name__)


def font_for(text: str, size: int) -> Font:
    """Returns a font of `size` pixels that has the letters of `text`.

    Pillow's own for English; for other letters the installed font that has most of them. What no
    font has is drawn as boxes, and the log says once which scripts that is.
    """
    file = None if text.isascii() else font_file(text)
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def font_file(text: str) -> str | None:
    """Returns the file of the font that has most letters of `text`; None if none has any.

    The log says once which scripts no font has.
    """
    file, missing = _best_font(frozenset(_letters(text)))
    for script in sorted({_script(letter) for letter in missing}):
        _say_missing(script)
    return file


@lru_cache(maxsize=1024)
def _best_font(letters: frozenset[str]) -> tuple[str | None, frozenset[str]]:
    """Returns the file of the font that lacks fewest of `letters`, and which these are."""
    best: tuple[str | None, frozenset[str]] = (None, letters)
    for file in _font_files():
        missing = frozenset(letter for letter in letters if ord(letter) not in _codes(file))
        if len(missing) < len(best[1]):
            best = file, missing
        if not missing:
            break
    return best


@lru_cache(maxsize=1)
def _font_files() -> tuple[str, ...]:
    """Returns the installed fonts; first DejaVu Sans, which comes with matplotlib."""
    from matplotlib import font_manager

    own = font_manager.findfont("DejaVu Sans")
    return own, *sorted(set(font_manager.findSystemFonts()) - {own}, key=_plain_first)


def _plain_first(file: str) -> tuple[bool, str]:
    """Sorts upright fonts of usual weight before others."""
    lower = file.lower()
    return any(word in lower for word in ("bold", "italic", "oblique", "light", "mono")), file


@cache
def _codes(file: str) -> frozenset[int]:
    """Returns the codes of the letters that a font has; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _letters(text: str) -> str:
    """Returns what is drawn of a text: not marks that only direct or join its letters."""
    return "".join(letter for letter in text if unicodedata.category(letter) not in ("Cf", "Zs"))


def _script(letter: str) -> str:
    """Returns "CJK" for "CJK UNIFIED IDEOGRAPH-732B", for example."""
    return unicodedata.name(letter, f"U+{ord(letter):04X}").partition(" ")[0].partition("-")[0]


@cache
def _say_missing(script: str) -> None:
    """Logs it the first time."""
    logger.warning(
        "no installed font has the letters of script %s; they are drawn as boxes. Install one, "
        "such as Noto Sans (packages fonts-noto and fonts-noto-cjk)",
        script,
    )
