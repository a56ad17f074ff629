"""A fixed colour for each class, distinguishable for colour-blind readers as far as possible."""

from __future__ import annotations

import colorsys

Color = tuple[int, int, int]

# Okabe and Ito's palette without black (https://jfly.uni-koeln.de/color/), which is distinguishable
# with any common colour vision deficiency.
OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
GOLDEN_RATIO = 0.618033988749895
# With more than seven classes hue alone is not enough, so brightness alternates.
BRIGHTNESS = (1.0, 0.65, 0.85)
SATURATION = (0.55, 0.85)


def class_color(index: int) -> Color:
    """Returns the RGB colour of class `index`, the same in every image."""
    if index < len(OKABE_ITO):
        return OKABE_ITO[index]
    red, green, blue = colorsys.hsv_to_rgb(
        index * GOLDEN_RATIO % 1.0,
        SATURATION[index % len(SATURATION)],
        BRIGHTNESS[index % len(BRIGHTNESS)],
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def text_color(background: Color) -> Color:
    """Returns black or white, whichever has more contrast to `background` (WCAG 2)."""
    return (0, 0, 0) if _luminance(background) > 0.179 else (255, 255, 255)


def _luminance(color: Color) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
