from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.data.loading.order import TrainingOrder, shares


def wide(count, seed=0):
    return np.random.default_rng(seed).random(count) < 0.7


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 16), st.integers(0, 99), st.booleans())
def test_an_epoch_shows_no_image_twice_and_leaves_out_less_than_a_batch(count, size, seed, group):
    order = TrainingOrder(wide(count, seed), batch_size=size, seed=seed, group=group)
    batches = [order.batch(step) for step in range(order.steps_per_epoch)]
    shown = [place.index for batch in batches for place in batch]
    assert all(len(batch) == size for batch in batches)
    if count >= size:
        assert len(set(shown)) == len(shown) > count - size
    else:  # a small dataset is repeated as evenly as can be
        counts = np.bincount(shown, minlength=count)
        assert len(batches) == 1 and counts.max() - counts.min() <= 1
    positions = [(place.epoch, place.position) for batch in batches for place in batch]
    assert positions == [(0, position) for position in range(len(shown))]


def test_batches_share_an_orientation_but_for_the_leftovers():
    landscape = wide(103)
    order = TrainingOrder(landscape, batch_size=8, seed=3)
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        mixed = sum(len({bool(landscape[p.index]) for p in order.batch(s)}) > 1 for s in steps)
        assert mixed <= 1


def test_without_grouping_batches_mix():
    landscape = wide(100)
    order = TrainingOrder(landscape, batch_size=10, seed=0, group=False)
    mixed = [len({bool(landscape[p.index]) for p in order.batch(s)}) > 1 for s in range(10)]
    assert sum(mixed) >= 8


def test_epochs_and_seeds_differ_and_orientations_are_interleaved():
    landscape = np.arange(64) < 32

    def first_epochs(seed):
        order = TrainingOrder(landscape, batch_size=4, seed=seed)
        return [[p.index for p in order.batch(step)] for step in range(32)]

    assert first_epochs(0) == first_epochs(0) != first_epochs(1)
    batches = first_epochs(0)
    assert batches[:16] != batches[16:]
    kinds = [bool(landscape[batch[0]]) for batch in batches[:16]]
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_ranks_and_micro_batches_share_the_global_batch_in_order(world_size, accumulate):
    def order():
        return TrainingOrder(wide(30), batch_size=8, seed=1)

    whole = [order().batch(step) for step in range(5, 12)]
    streams = [
        shares(order(), start_step=5, accumulate=accumulate, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for batch in whole:
        parts = [part for stream in streams for part in islice(stream, accumulate)]
        assert [place for part in parts for place in part] == batch
        assert {len(part) for part in parts} == {8 // world_size // accumulate}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200))
def test_any_step_is_reached_without_those_before(step):
    whole, resumed = (TrainingOrder(wide(30), batch_size=8, seed=1) for _ in range(2))
    for earlier in range(step):
        whole.batch(earlier)
    assert whole.batch(step) == resumed.batch(step)


def test_a_batch_larger_than_the_dataset_is_said(caplog):
    TrainingOrder(wide(8), batch_size=8, seed=0)
    assert caplog.text == ""
    TrainingOrder(wide(8), batch_size=9, seed=0)
    assert "solver.batch_size is 9, but the dataset has 8 training images" in caplog.text
