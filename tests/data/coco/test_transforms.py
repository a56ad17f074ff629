import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.data.coco.transforms import (
    Annotated,
    augment,
    flip_horizontally,
    resize_sample,
    target_size,
)


def make(height, width, count=3, seed=0):
    """Noise with random boxes; the masks are the boxes, as polygons and bitmaps in turns."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
    boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).astype(np.float32)
    masks = []
    for number, (x0, y0, x1, y1) in enumerate(boxes.astype(np.float64)):
        bitmap = np.zeros((height, width), dtype=bool)
        bitmap[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] = True
        polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        masks.append(bitmap if number % 2 else [polygon])
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    return Annotated(image, boxes, np.arange(count), masks)


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        # From detectron2's ResizeShortestEdge.get_output_shape, run on these; but 0 rows became 1.
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((333, 500), 672, 1333, (672, 1009)),
        ((375, 1242), 800, 1333, (402, 1333)),
        ((1202, 601), 704, 1333, (1333, 667)),
        ((500, 500), 640, 1333, (640, 640)),
        ((1, 5000), 800, 1333, (1, 1333)),
    ],
)
def test_sizes_are_detectron2_s(size, short, longest, expected):
    assert target_size(*size, short, longest) == expected


sides = st.integers(4, 60)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(0, 5), st.integers(0, 1000))
def test_flipping_twice_changes_nothing(height, width, count, seed):
    sample = make(height, width, count, seed)
    once = flip_horizontally(sample)
    twice = flip_horizontally(once)
    assert torch.equal(twice.image, sample.image)
    assert torch.equal(once.image, sample.image[:, :, torch.arange(width - 1, -1, -1)])
    np.testing.assert_allclose(twice.boxes, sample.boxes, atol=1e-5)  # float32 of up to 60
    for mask, original in zip(twice.masks, sample.masks, strict=True):
        np.testing.assert_allclose(np.asarray(mask), np.asarray(original), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(0, 5), st.integers(0, 1000), st.integers(8, 90))
def test_boxes_and_masks_stay_inside_and_together(height, width, count, seed, short):
    rng = np.random.default_rng(seed)
    sample = make(height, width, count, seed)
    out = augment(sample, rng, short_sides=(short, short + 7), max_side=100, flip=0.5)
    new_height, new_width = out.image.shape[1:]
    assert max(new_height, new_width) <= 100
    assert out.boxes.dtype == np.float32 and len(out.boxes) == len(out.classes) == len(out.masks)
    assert (out.boxes >= 0).all()
    assert (out.boxes <= (new_width, new_height, new_width, new_height)).all()
    assert (out.boxes[:, 2:] > out.boxes[:, :2]).all()
    for box, mask in zip(out.boxes, out.masks, strict=True):
        if isinstance(mask, list):
            reach = np.concatenate((mask[0].min(axis=0), mask[0].max(axis=0)))
            np.testing.assert_allclose(reach, box, atol=1e-4)
        else:
            assert mask.shape == (new_height, new_width) and mask.dtype == bool


def test_an_augmentation_is_a_function_of_its_generator():
    sample = make(40, 60)

    def run(seed):
        rng = np.random.default_rng(seed)
        return augment(sample, rng, short_sides=range(20, 60), max_side=200, flip=0.5)

    for seed in range(5):
        first, again = run(seed), run(seed)
        assert torch.equal(first.image, again.image)
        assert np.array_equal(first.boxes, again.boxes)
    assert len({run(seed).image.shape for seed in range(20)}) > 10
    flipped = sum(
        not np.allclose(run(seed).boxes[0, 0] / run(seed).image.shape[2], sample.boxes[0, 0] / 60)
        for seed in range(40)
    )
    assert 10 < flipped < 30


def test_flip_probabilities_of_zero_and_one():
    sample = make(32, 32)
    for seed in range(10):
        options = {"short_sides": (32,), "max_side": 32}
        kept = augment(sample, np.random.default_rng(seed), flip=0.0, **options)
        turned = augment(sample, np.random.default_rng(seed), flip=1.0, **options)
        assert torch.equal(kept.image, sample.image)
        assert torch.equal(turned.image, sample.image.flip(2))


def test_a_white_square_and_its_box_and_masks_are_scaled_alike():
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[:, 10:20, 30:50] = 255
    bitmap = image[0].bool().numpy()
    polygon = np.array([[30.0, 10.0], [50.0, 10.0], [50.0, 20.0], [30.0, 20.0]])
    boxes = np.array([[30, 10, 50, 20]] * 2, dtype=np.float32)
    out = resize_sample(
        Annotated(image, boxes, np.zeros(2, np.int64), [bitmap, [polygon]]), 80, 1000
    )
    assert out.image.shape == (3, 80, 120)
    assert out.boxes.tolist() == [[60, 20, 100, 40]] * 2
    assert np.array_equal(out.masks[0], out.image[0].numpy() >= 128)
    assert out.masks[0].sum() == 20 * 40
    assert out.masks[1][0].tolist() == [[60, 20], [100, 20], [100, 40], [60, 40]]


def test_instances_that_lose_their_size_are_dropped():
    boxes = np.array([[5, 5, 5 + 1e-6, 20], [5, 5, 15, 20]], dtype=np.float32)
    sample = Annotated(
        torch.zeros(3, 30, 30, dtype=torch.uint8), boxes, np.array([3, 4]), [[], [boxes[:1, :2]]]
    )
    out = resize_sample(sample, 30, 30)
    assert out.classes.tolist() == [4] and len(out.masks) == 1
    assert resize_sample(Annotated(sample.image, boxes, np.array([3, 4])), 30, 30).masks in ([], ())
