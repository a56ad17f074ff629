"""Draws an image with the names of its most probable classes."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from resnet_backbone.report.draw import BLACK, WHITE, enlarged
from resnet_backbone.report.fonts import font_for

LINE = 1.5  # height of a line, in sizes of its font


def draw_with_names(image: Tensor, lines: Sequence[str]) -> Image.Image:
    """Returns the image with lines of text in a white strip below it.

    Small images are enlarged; a font shrinks where its line would be wider than the image.

    Args:
        image: uint8[3, H, W], RGB.
        lines: The text, such as "0.93 tabby".
    """
    picture, _ = enlarged(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()))
    size = max(14, round(min(picture.size) / 22))
    margin, step = size // 2, round(LINE * size)
    strip = margin + step * len(lines) if lines else 0
    framed = Image.new("RGB", (picture.width, picture.height + strip), WHITE)
    framed.paste(picture, (0, 0))
    canvas = ImageDraw.Draw(framed)
    for number, line in enumerate(lines):
        width = canvas.textlength(line, font=font_for(line, size))
        font = font_for(line, max(8, min(size, int(size * (picture.width - 2 * margin) / width))))
        place = (margin, picture.height + margin + step * number)
        canvas.text(place, line, fill=BLACK, font=font, anchor="la")
    return framed
