import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from resnet_backbone.report.colors import class_color
from resnet_backbone.report.draw import (
    MAX_ENLARGED_SIDE,
    MIN_SIDE,
    _eroded,
    draw_comparison,
    draw_detections,
    most_likely,
)
from resnet_backbone.structures import Detections

NAMES = ("cat", "dog")


def gray(height=480, width=640):
    return torch.full((3, height, width), 128, dtype=torch.uint8)


def detections(boxes, scores=None, classes=None, masks=None, size=(480, 640)):
    count = len(boxes)
    return Detections(
        image_id=1,
        size=size,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([0.9] * count if scores is None else scores),
        classes=torch.tensor([0] * count if classes is None else classes, dtype=torch.int64),
        masks=masks,
    )


def test_frame_has_the_colour_of_its_class_and_the_rest_is_untouched():
    picture = draw_detections(gray(), detections([[100, 200, 300, 400]], classes=[1]), NAMES)
    pixels = np.asarray(picture)
    assert picture.size == (640, 480)
    for x, y in ((100, 300), (300, 300), (200, 400)):
        assert tuple(pixels[y, x]) == class_color(1)
    assert tuple(pixels[300, 200]) == (128, 128, 128)  # inside
    assert tuple(pixels[100, 500]) == (128, 128, 128)  # outside
    assert (pixels[180:200, 100:160] != 128).any()  # the label, above the frame


def test_masks_are_tinted_inside_and_solid_at_their_border():
    masks = torch.zeros(1, 480, 640, dtype=torch.bool)
    masks[0, 250:350, 150:250] = True
    picture = draw_detections(gray(), detections([[100, 200, 300, 400]], masks=masks), NAMES)
    pixels = np.asarray(picture)
    color = np.array(class_color(0))
    expected = 128 + 0.45 * (color - 128)
    assert np.abs(pixels[300, 200] - expected).max() <= 1
    assert tuple(pixels[300, 150]) == class_color(0)
    assert tuple(pixels[240, 200]) == (128, 128, 128)  # in the box, not in the mask


def test_low_scores_are_left_out():
    found = detections([[100, 200, 300, 400]], scores=[0.3])
    assert (np.asarray(draw_detections(gray(), found, NAMES)) == 128).all()
    shown = draw_detections(gray(), found, NAMES, threshold=0.2)
    assert (np.asarray(shown) != 128).any()


@pytest.mark.parametrize("with_masks", [False, True])
def test_nothing_found(with_masks):
    masks = torch.zeros(0, 480, 640, dtype=torch.bool) if with_masks else None
    assert (np.asarray(draw_detections(gray(), detections([], masks=masks), NAMES)) == 128).all()


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 11, 11],
        [10, 10, 10, 10],
        [-50, -50, 2000, 2000],
        [639, 479, 640, 480],
        [700, 500, 800, 600],
        [-20, -20, -10, -10],
    ],
)
def test_tiny_boxes_and_boxes_past_the_border(box):
    masks = torch.zeros(1, 480, 640, dtype=torch.bool)
    masks[0, 479, 639] = True
    picture = draw_detections(gray(), detections([box], masks=masks), NAMES)
    assert picture.size == (640, 480)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (128, 128), (90, 333), (399, 401)])
def test_small_images_are_enlarged_by_a_whole_factor(height, width):
    found = detections(
        [[0, 0, width, height]],
        masks=torch.ones(1, height, width, dtype=torch.bool),
        size=(height, width),
    )
    picture = draw_detections(gray(height, width), found, NAMES)
    factor = picture.width // width
    assert picture.size == (width * factor, height * factor)
    assert MIN_SIDE <= min(picture.size) < 2 * MIN_SIDE or factor == MIN_SIDE
    middle = np.asarray(picture)[picture.height // 2, picture.width // 2]
    assert tuple(middle) != (128, 128, 128)  # the mask was enlarged with the picture


def test_lines_and_text_grow_with_the_image():
    def changed(height, width):
        found = detections([[0.3 * width, 0.5 * height, 0.9 * width, 0.9 * height]])
        found = Detections(1, (height, width), found.boxes, found.scores, found.classes)
        pixels = np.asarray(draw_detections(gray(height, width), found, NAMES))
        return (pixels != 128).any(axis=2).mean()

    # The same share of the picture, within the rounding of line widths.
    assert changed(1920, 2560) == pytest.approx(changed(480, 640), rel=0.5)


def test_comparison_has_two_titled_panels():
    found = detections([[100, 200, 300, 400], [50, 50, 90, 90]], scores=[0.9, 0.1])
    truth = detections([[300, 200, 500, 400]], scores=[1.0], classes=[1])
    picture = draw_comparison(gray(), found, truth, NAMES)
    assert picture.width > 2 * 640 and picture.height > 480
    pixels = np.asarray(picture)
    strip = picture.height - 480
    assert (pixels[:strip] == 255).any() and (pixels[:strip] == 0).any()
    left, right = pixels[strip:, :640], pixels[strip:, -640:]
    assert tuple(left[300, 100]) == class_color(0)
    assert tuple(right[300, 500]) == class_color(1)
    assert tuple(right[300, 100]) == (128, 128, 128)


@pytest.mark.parametrize(
    ("scores", "rows", "heading"),
    [
        ([0.7, 0.5, 0.2], [0, 1], "2 of 3 detections with a score of at least 0.50"),
        ([0.1, 0.4, 0.3, 0.2], [1, 2, 3], "The best 3 of 4 detections: none scores 0.50 or more"),
        ([0.25], [0], "The best 1 of 1 detection: none scores 0.50 or more"),
        ([], [], "0 of 0 detections with a score of at least 0.50"),
    ],
)
def test_where_nothing_is_likely_the_best_are_shown(scores, rows, heading):
    found = detections([[10 * i, 0, 50, 50] for i in range(len(scores))], scores)
    shown, title = most_likely(found, 0.5)
    assert title == heading
    assert shown.boxes.tolist() == found.boxes[rows].tolist()


def test_a_comparison_without_ground_truth_is_one_panel_with_the_colours_of_instances():
    found = detections([[100, 200, 200, 400], [300, 200, 400, 400]], [0.9, 0.8], [1, 1])
    picture = draw_comparison(gray(), found, None, NAMES, color_by="instance")
    assert picture.width == 640 and picture.height > 480
    pixels = np.asarray(picture)[-480:]
    assert tuple(pixels[300, 100]) == class_color(0)
    assert tuple(pixels[300, 300]) == class_color(1)


def test_neighbours_of_a_class_can_have_different_colours():
    found = detections([[100, 200, 200, 400], [300, 200, 400, 400]], [0.5, 0.9], [1, 1])
    pixels = np.asarray(draw_detections(gray(), found, NAMES, color_by="instance"))
    assert tuple(pixels[300, 100]) == class_color(1)  # the second best
    assert tuple(pixels[300, 300]) == class_color(0)
    same = np.asarray(draw_detections(gray(), found, NAMES))
    assert tuple(same[300, 100]) == tuple(same[300, 300]) == class_color(1)


def test_more_classes_than_palette_entries():
    names = [f"class {index}" for index in range(200)]
    found = detections([[10, 100, 200, 200]], classes=[199])
    pixels = np.asarray(draw_detections(gray(), found, names))
    assert tuple(pixels[150, 10]) == class_color(199)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (100, 17_000), (399, 1200)])
def test_strips_are_enlarged_no_further_than_fits(size):
    height, width = size
    masks = torch.zeros(1, height, width, dtype=torch.bool)
    masks[0, :, : width // 2] = True
    box = [0.0, 0.0, width / 2, float(height)]
    found = detections([box], size=size, masks=masks)
    picture = draw_detections(gray(height, width), found, NAMES)
    factor = picture.width // width
    assert picture.size == (width * factor, height * factor)
    assert max(picture.size) <= max(MAX_ENLARGED_SIDE, *size)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_erosion_is_the_minimum_over_a_square(height, width, reach, seed):
    """Compared with Pillow's filter, which takes the minimum over all pixels of the square."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.97
    framed = Image.new("L", (width + 2 * reach, height + 2 * reach))
    framed.paste(Image.fromarray(mask.astype(np.uint8) * 255), (reach, reach))
    minimum = np.asarray(framed.filter(ImageFilter.MinFilter(2 * reach + 1)))
    expected = minimum[reach : reach + height, reach : reach + width] > 0
    np.testing.assert_array_equal(_eroded(mask, reach), expected)
