"""Box arithmetic against torchvision, numpy and closed forms."""

import math

import numpy as np
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection import boxes as box_ops

UNIT = (1.0, 1.0, 1.0, 1.0)
side = st.floats(0.5, 500, width=32)
place = st.floats(-200, 800, width=32)
boxes = st.tuples(place, place, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
some = st.lists(boxes, min_size=1, max_size=8).map(torch.tensor)


@settings(max_examples=100, deadline=None)
@given(some, some)
def test_iou_equals_torchvision(first, second):
    found = box_ops.pairwise_iou(first, second)
    torch.testing.assert_close(found, torchvision.ops.box_iou(first, second), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found, box_ops.pairwise_iou(second, first).T)
    assert ((found >= 0) & (found <= 1 + 1e-5)).all()


def test_iou_of_padding_is_zero_not_nan():
    nothing = torch.zeros(2, 3, 4)
    assert (box_ops.pairwise_iou(nothing, nothing) == 0).all()


@settings(max_examples=100, deadline=None)
@given(boxes, boxes)
def test_encode_is_the_papers_equations_and_decode_inverts_it(target, anchor):
    weights = (10.0, 10.0, 5.0, 5.0)
    found = box_ops.encode(torch.tensor(target), torch.tensor(anchor), weights)
    t, a = np.array(target, dtype=np.float64), np.array(anchor, dtype=np.float64)
    size_t, size_a = t[2:] - t[:2], a[2:] - a[:2]
    shift = (t[:2] + t[2:] - a[:2] - a[2:]) / 2 / size_a
    expected = np.concatenate((shift, np.log(size_t / size_a))) * weights
    # Corners of up to 1300 px leave 1e-4 px of a float32, which is 2e-4 of the smallest side.
    np.testing.assert_allclose(found, expected, atol=2e-2, rtol=2e-3)
    if size_t.max() / size_a.min() < 1000 / 16:
        decoded = box_ops.decode(found, torch.tensor(anchor), weights)
        np.testing.assert_allclose(decoded, target, atol=0.05)


def test_decode_limits_growth():
    anchor = torch.tensor([0.0, 0.0, 16.0, 16.0])
    grown = box_ops.decode(torch.tensor([0.0, 0.0, 50.0, 50.0]), anchor, UNIT)
    assert math.isclose(grown[2] - grown[0], 1000.0, rel_tol=1e-5)


def test_clip_uses_each_images_own_size():
    boxes_of_two = torch.tensor([[[-5.0, -5, 50, 50]], [[-5.0, 3, 50, 90]]])
    sizes = torch.tensor([[20, 30], [80, 40]])[:, None]
    expected = torch.tensor([[[0.0, 0, 30, 20]], [[0.0, 3, 40, 80]]])
    assert torch.equal(box_ops.clip(boxes_of_two, sizes), expected)


degenerate = st.tuples(place, place, st.sampled_from([0.0, -7.0, 5.0]), st.just(0.0)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(degenerate, min_size=1, max_size=5).map(torch.tensor), some)
def test_boxes_without_area_overlap_nothing(flat, solid):
    assert (box_ops.pairwise_iou(flat, solid) == 0).all()
    assert (box_ops.pairwise_iou(flat, flat) == 0).all()


def test_iou_of_batches_and_of_one_set_shared_by_all_images():
    first = torch.tensor([[[0.0, 0, 2, 2]], [[1.0, 1, 3, 3]]])
    shared = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])[None]
    expected = torch.tensor([[[1.0, 1 / 7, 0.0]], [[1 / 7, 1.0, 0.0]]])
    torch.testing.assert_close(box_ops.pairwise_iou(first, shared), expected)


def test_areas():
    boxes_of_two = torch.tensor([[[0.0, 0, 2, 3]], [[1.0, 1, 1, 9]]])
    assert box_ops.area(boxes_of_two).tolist() == [[6.0], [0.0]]


def test_half_precision_offsets_are_decoded_in_float32():
    anchor = torch.tensor([1000.0, 1000.0, 1016.0, 1016.0])
    found = box_ops.decode(torch.tensor([0.5, 0, 0, 0], dtype=torch.bfloat16), anchor, UNIT)
    assert found.dtype == torch.float32
    assert found.tolist() == [1008.0, 1000.0, 1024.0, 1016.0]


def test_pairs_are_compared_in_blocks_of_limited_size():
    objects, boxes = (
        torch.empty(16, 300, 4, device="meta"),
        torch.empty(1, 268_000, 4, device="meta"),
    )
    blocks = list(box_ops.iou_in_blocks(objects, boxes))
    assert sum(block.shape[1] for block in blocks) == 300
    assert max(block.numel() for block in blocks) <= box_ops.MAX_PAIRS
    # More boxes than the limit: one object after the other.
    blocks = list(box_ops.iou_in_blocks(objects, boxes, max_pairs=1000))
    assert {tuple(block.shape) for block in blocks} == {(16, 1, 268_000)} and len(blocks) == 300


def test_blocks_are_the_rows_of_the_whole():
    corners = torch.rand(3, 7 + 11, 2, generator=torch.Generator().manual_seed(3))
    sides = torch.rand(3, 7 + 11, 2, generator=torch.Generator().manual_seed(4))
    objects, boxes = torch.cat((corners, corners + sides), dim=2).split((7, 11), dim=1)
    blocks = list(box_ops.iou_in_blocks(objects, boxes, max_pairs=3 * 2 * 11 + 5))
    assert [block.shape[1] for block in blocks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(blocks, dim=1), box_ops.pairwise_iou(objects, boxes))
