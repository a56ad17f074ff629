"""Many small pictures as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from resnet_backbone.errors import StorageError

COLUMNS = 4
CELL = 480  # pixels
GAP = 6  # pixels


def draw_grid(pictures: Sequence[Image.Image], out: Path) -> None:
    """Writes one or more pictures of any size in rows of `COLUMNS`, each scaled to its cell.

    Small pictures are enlarged by whole factors without smoothing, since pixels are to be seen.

    Raises:
        StorageError: the file cannot be written.
    """
    cells = [_fitted(picture) for picture in pictures]
    columns = min(COLUMNS, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = columns * (max(cell.width for cell in cells) + GAP) - GAP
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) - 1)), "white")
    top, step = 0, width + GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (column * step // columns, top))
        top += height + GAP
    try:
        sheet.save(out)
    except OSError as error:
        raise StorageError(f"{out}: cannot write the picture: {error}") from error


def _fitted(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    if side <= CELL // 2:
        factor = CELL // side
        return picture.resize((picture.width * factor, picture.height * factor), 0)
    picture = picture.copy()
    picture.thumbnail((CELL, CELL))
    return picture
