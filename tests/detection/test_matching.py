"""Matching and sampling against plain loops."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection.matching import gather_rows, match, random_order, sample

overlaps = st.integers(0, 10).map(lambda tenths: tenths / 10)
tables = st.integers(1, 4).flatmap(
    lambda objects: st.lists(
        st.lists(overlaps, min_size=objects, max_size=objects), min_size=1, max_size=12
    )
)


def reference(iou, low, high, keep_best):
    """One box after the other, as Faster R-CNN, section 3.1.2, says it."""
    labels = []
    for box in range(iou.shape[1]):
        best = iou[:, box].max()
        label = 1 if best >= high else 0 if best < low else -1
        if keep_best and any(
            iou[g, box] > 0 and iou[g, box] == iou[g].max() for g in range(len(iou))
        ):
            label = 1
        labels.append(label)
    return labels


@settings(max_examples=150, deadline=None)
@given(tables, st.booleans(), st.integers(1, 6))
def test_match_equals_a_plain_loop_whatever_the_padding_and_the_blocks(table, keep_best, size):
    iou = torch.tensor(table).T.contiguous()
    padded = torch.cat((iou, torch.full((2, iou.shape[1]), 0.95)))[None]
    valid = torch.tensor([[True] * len(iou) + [False] * 2])
    blocks = padded.split(size, dim=1)
    found = match(blocks, valid, low=0.3, high=0.7, keep_best=keep_best)
    expected = reference(iou.numpy(), np.float32(0.3), np.float32(0.7), keep_best)
    assert found.labels[0].tolist() == expected
    assert found.targets[0].tolist() == iou.numpy().argmax(axis=0).tolist()  # the first one


def test_an_image_without_objects_is_all_background():
    found = match(
        [torch.zeros(1, 1, 5)], torch.tensor([[False]]), low=0.3, high=0.7, keep_best=True
    )
    assert found.labels.tolist() == [[0] * 5]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([1, 0, -1]), min_size=1, max_size=40),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_sample_takes_the_quota_of_foreground_and_fills_with_background(labels, count, fraction):
    labels = torch.tensor([labels], dtype=torch.int8)
    order = random_order(torch.tensor([7]), labels.shape[1], 0)
    found = sample(labels, order, count=count, positive_fraction=fraction)
    room = min(count, labels.shape[1])
    positives = min(int((labels == 1).sum()), int(count * fraction))
    negatives = min(int((labels == 0).sum()), room - positives)

    chosen = found.indices[0][found.valid[0]]
    assert len(set(chosen.tolist())) == len(chosen) == positives + negatives
    assert found.positive[0].tolist() == [True] * positives + [False] * (room - positives)
    assert (labels[0, chosen[:positives]] == 1).all()
    assert (labels[0, chosen[positives:]] == 0).all()
    # Of each kind, those with the largest order.
    for kind, part in ((1, chosen[:positives]), (0, chosen[positives:])):
        candidates = order[0][labels[0] == kind].sort(descending=True).values
        assert torch.equal(order[0, part].sort(descending=True).values, candidates[: len(part)])


def test_random_order_depends_on_the_key_alone():
    alone = random_order(torch.tensor([12345]), 1000, 1)
    among = random_order(torch.tensor([3, 12345, 2**61]), 1000, 1)
    assert torch.equal(alone[0], among[1])
    assert not torch.equal(alone, random_order(torch.tensor([12345]), 1000, 0))


def test_random_order_is_uniform():
    values = random_order(torch.arange(8), 50_000, 0)
    assert values.min() >= 0
    counts = np.bincount((values.flatten() >> 24).numpy(), minlength=128)
    expected = values.numel() / 128
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 200  # 127 degrees of freedom: exceeded once in 20,000 uniform samples
    correlation = np.corrcoef(values[0].numpy(), values[1].numpy())[0, 1]
    assert abs(correlation) < 0.02  # four standard deviations of 50,000 independent pairs


def test_gather_rows():
    values = torch.arange(24.0).view(2, 3, 4)
    found = gather_rows(values, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(found, torch.stack((values[0][[2, 0]], values[1][[1, 1]])))


def test_a_sample_does_not_depend_on_the_other_images():
    labels = torch.randint(-1, 2, (3, 60), dtype=torch.int8)
    keys = torch.tensor([9, 8, 7])
    together = sample(labels, random_order(keys, 60, 1), count=20, positive_fraction=0.25)
    for row in range(3):
        order = random_order(keys[row : row + 1], 60, 1)
        alone = sample(labels[row : row + 1], order, count=20, positive_fraction=0.25)
        chosen = alone.indices[alone.valid]
        assert torch.equal(together.indices[row][together.valid[row]], chosen)


def test_numbers_of_neighbouring_keys_are_not_one_sequence_shifted():
    values = random_order(torch.arange(16), 500, 0).tolist()
    assert len({number for row in values for number in row}) == 16 * 500
