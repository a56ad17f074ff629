"""Draws detections on their image, optionally side by side with the ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from resnet_backbone.report.colors import Color, class_color, text_color
from resnet_backbone.report.fonts import font_for
from resnet_backbone.report.labels import Rectangle, place_labels
from resnet_backbone.structures import Detections
from resnet_backbone.utils.text import count_of

# Images with a shorter short side are enlarged first, so that labels are legible; but strips no
# further than to this long side.
MIN_SIDE, MAX_ENLARGED_SIDE = 400, 4000
MASK_OPACITY = 0.45
SHOWN_AT_LEAST = 3  # detections that are shown of an image where none is likely
MEASURED = "\u00c5g"  # as high and as low as letters get
ColorBy = Literal["class", "instance"]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class _Style:
    """Width of lines and size of the font, in pixels, that suit the size of an image."""

    line: int
    font_size: int

    @staticmethod
    def of(picture: Image.Image) -> _Style:
        short = min(picture.size)
        return _Style(line=max(1, round(short / 320)), font_size=max(11, round(short / 40)))


def draw_detections(
    image: Tensor,
    detections: Detections,
    class_names: Sequence[str],
    *,
    threshold: float = 0.5,
    show_scores: bool = True,
    color_by: ColorBy = "class",
) -> Image.Image:
    """Returns `image` with boxes, masks, class names and scores drawn on it.

    If the short side of the image is below `MIN_SIDE`, it is enlarged by an integer factor, unless
    its long side would exceed `MAX_ENLARGED_SIDE`.

    Args:
        image: uint8[3, H, W], RGB.
        detections: Detections in pixels of `image`.
        class_names: The name of each class.
        threshold: Detections with a lower score are not drawn.
        show_scores: Whether labels show the score after the class name.
        color_by: "class": a class has the same colour in all images; "instance": neighbours have
            different ones, best score first.
    """
    picture, factor = enlarged(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()))
    shown = _visible(detections.cpu(), threshold)
    style = _Style.of(picture)
    kinds = shown.classes.tolist() if color_by == "class" else range(len(shown))
    colors = [class_color(kind) for kind in kinds]
    boxes = [_clipped(box, picture.size) for box in (shown.boxes * factor).tolist()]
    if shown.masks is not None:
        _paint_masks(picture, shown.masks.numpy(), colors, style)
    _draw_boxes(picture, boxes, colors, style)
    labels = [class_names[int(index)] for index in shown.classes]
    if show_scores:
        labels = [
            f"{name} {score:.2f}" for name, score in zip(labels, shown.scores.tolist(), strict=True)
        ]
    _draw_labels(picture, boxes, labels, colors, style)
    return picture


def draw_comparison(
    image: Tensor,
    detections: Detections,
    truth: Detections | None,
    class_names: Sequence[str],
    *,
    threshold: float = 0.5,
    color_by: ColorBy = "class",
) -> Image.Image:
    """Returns two panels with titles, side by side: detections and ground truth.

    Args:
        image: uint8[3, H, W], RGB.
        detections: Detections in pixels of `image`.
        truth: Ground truth in pixels of `image`; its scores are ignored. None leaves out its panel.
        class_names: The name of each class.
        threshold: Detections with a lower score are not drawn, but for the best few if there are
            no others.
        color_by: See `draw_detections`.
    """
    shown, title = most_likely(detections, threshold)
    left = draw_detections(image, shown, class_names, threshold=-math.inf, color_by=color_by)
    panels = [titled(left, title)]
    if truth is not None:
        right = draw_detections(
            image, truth, class_names, threshold=-math.inf, show_scores=False, color_by=color_by
        )
        panels.append(titled(right, f"Ground truth: {count_of(len(truth), 'object')}"))
    return in_a_row(panels)


def in_a_row(panels: Sequence[Image.Image]) -> Image.Image:
    """Returns pictures of one size side by side, with a white gap between them."""
    width, height = panels[0].size
    gap = max(2, width // 100)
    row = Image.new("RGB", (len(panels) * (width + gap) - gap, height), WHITE)
    for place, panel in enumerate(panels):
        row.paste(panel, (place * (width + gap), 0))
    return row


def most_likely(detections: Detections, threshold: float) -> tuple[Detections, str]:
    """Returns the detections to look at, and a heading that says which they are.

    They are those that score at least `threshold`; where none does, the best three.
    """
    of_all = f"of {count_of(len(detections), 'detection')}"
    likely = detections.select(detections.scores >= threshold)
    if len(likely) or not len(detections):
        return likely, f"{len(likely)} {of_all} with a score of at least {threshold:.2f}"
    best = detections.select(detections.scores.argsort(descending=True)[:SHOWN_AT_LEAST])
    return best, f"The best {len(best)} {of_all}: none scores {threshold:.2f} or more"


def _visible(detections: Detections, threshold: float) -> Detections:
    """Returns detections with sufficient score that overlap the image, best first."""
    height, width = detections.size
    x0, y0, x1, y1 = detections.boxes.unbind(1)
    inside = (x0 < width) & (y0 < height) & (x1 > 0) & (y1 > 0)
    chosen = (inside & (detections.scores >= threshold)).nonzero()[:, 0]
    order = chosen[detections.scores[chosen].argsort(descending=True, stable=True)]
    return detections.select(order)


def enlarged(picture: Image.Image) -> tuple[Image.Image, int]:
    """Returns a picture that is large enough to write on, and by how much it was enlarged."""
    wanted, most = math.ceil(MIN_SIDE / min(picture.size)), MAX_ENLARGED_SIDE // max(picture.size)
    factor = max(1, min(wanted, most))
    if factor == 1:
        return picture, 1
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.BICUBIC), factor


def _clipped(box: Sequence[float], canvas: tuple[int, int]) -> Rectangle:
    """Clips a box to the image; the result is at least one pixel wide and high."""
    x0, x1 = (min(max(x, 0.0), canvas[0] - 1.0) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 0.0), canvas[1] - 1.0) for y in (box[1], box[3]))
    return x0, y0, max(x0, x1), max(y0, y1)


def _paint_masks(
    picture: Image.Image, masks: np.ndarray, colors: Sequence[Color], style: _Style
) -> None:
    """Tints and outlines each mask; small masks are drawn over large ones."""
    for index in np.argsort([-np.count_nonzero(mask) for mask in masks], kind="stable"):
        found = _crop_to_content(masks[index])
        if found is None:
            continue
        top, left, content = found
        factor = picture.width // masks.shape[2]
        opacity = Image.fromarray(_outline_and_fill(content, factor, style.line))
        picture.paste(colors[index], (left * factor, top * factor), opacity)


def _crop_to_content(mask: np.ndarray) -> tuple[int, int, np.ndarray] | None:
    """Returns top, left and the mask cropped to its content; None if it is empty."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return None
    content = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(rows[0]), int(columns[0]), content


def _outline_and_fill(mask: np.ndarray, factor: int, line: int) -> np.ndarray:
    """Returns the opacity, uint8[H, W], of an enlarged mask: 255 at its border, less inside."""
    solid = mask.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else mask
    inner = _eroded(solid, line)
    return solid * np.uint8(255) - inner * np.uint8(255 - round(255 * MASK_OPACITY))


def _eroded(mask: np.ndarray, reach: int) -> np.ndarray:
    """Returns bool[H, W]: whether all pixels at most `reach` rows and columns away are set.

    Pixels outside of the mask count as not set. The time depends on the logarithm of `reach`.
    """
    window = 2 * reach + 1
    return _all_ahead(_all_ahead(np.pad(mask, reach), window).T, window).T


def _all_ahead(mask: np.ndarray, window: int) -> np.ndarray:
    """Returns bool[H - window + 1, W]: whether the pixel and those in the rows below are set."""
    rows = 1
    while rows < window:
        step = min(rows, window - rows)
        mask = mask[:-step] & mask[step:]
        rows += step
    return mask


def _draw_boxes(
    picture: Image.Image, boxes: Sequence[Rectangle], colors: Sequence[Color], style: _Style
) -> None:
    """Draws the boxes, best score on top, with a dark edge for contrast on bright images."""
    canvas = ImageDraw.Draw(picture)
    for box, color in zip(reversed(boxes), reversed(colors), strict=True):
        x0, y0, x1, y1 = box
        canvas.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=BLACK, width=style.line + 2)
        canvas.rectangle(box, outline=color, width=style.line)


def _draw_labels(
    picture: Image.Image,
    boxes: Sequence[Rectangle],
    labels: Sequence[str],
    colors: Sequence[Color],
    style: _Style,
) -> None:
    canvas = ImageDraw.Draw(picture)
    pad = max(2, style.line)
    fonts = [font_for(label, style.font_size) for label in labels]
    # Measured from the baseline, so that all labels in one font have the same height.
    bounds = [canvas.textbbox((0, 0), MEASURED, font=font, anchor="ls") for font in fonts]
    sizes = [
        (
            math.ceil(canvas.textlength(label, font=font)) + 2 * pad,
            math.ceil(bottom - top) + 2 * pad,
        )
        for label, font, (_, top, _, bottom) in zip(labels, fonts, bounds, strict=True)
    ]
    places = place_labels(boxes, sizes, picture.size)
    drawn = list(zip(places, labels, colors, fonts, bounds, strict=True))
    for place, label, color, font, (_, top, _, _) in reversed(drawn):
        canvas.rectangle(place, fill=color)
        start = (place[0] + pad, place[1] + pad - top)
        canvas.text(start, label, fill=text_color(color), font=font, anchor="ls")


def titled(picture: Image.Image, title: str) -> Image.Image:
    """Adds a white strip with a title above the image; the font shrinks to fit its width."""
    size = max(12, round(min(picture.size) / 26))
    width = ImageDraw.Draw(picture).textlength(title, font=font_for(title, size))
    font = font_for(title, max(8, min(size, int(size * 0.98 * picture.width / width))))
    strip = round(size * 1.7)
    framed = Image.new("RGB", (picture.width, picture.height + strip), WHITE)
    framed.paste(picture, (0, strip))
    middle = (picture.width / 2, strip / 2)
    ImageDraw.Draw(framed).text(middle, title, fill=BLACK, font=font, anchor="mm")
    return framed
