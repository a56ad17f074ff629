import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_backbone.data.loading import shared_memory as slots
from resnet_backbone.data.loading.loader import BatchLoader, Loaded, TrainingBatches, make_loader
from resnet_backbone.data.loading.order import SampleRef
from resnet_backbone.data.loading.shared_memory import Lender, borrow, forget
from resnet_backbone.errors import DataError
from resnet_backbone.structures import Batch, ImageBatch, Targets

OWNER = -1  # no process


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    forget([OWNER])
    assert not slots._known


def image_batch(value: int, *, size: int = 8) -> ImageBatch:
    images = torch.full((2, size, size, 3), value, dtype=torch.uint8).permute(0, 3, 1, 2)
    return ImageBatch(images, torch.tensor([value, 1]), torch.tensor([2**62, 3]), ["a", "b"])


def hand_over(lender, batch):
    hollow, lent = lender.lend(batch)
    return borrow(hollow, lent, OWNER)


def test_a_batch_arrives_as_it_was():
    batch = image_batch(7)
    found = hand_over(Lender(), batch)
    assert torch.equal(found.images, batch.images)
    assert found.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.labels, batch.labels) and torch.equal(found.keys, batch.keys)
    assert found.image_ids == ["a", "b"] and found.targets is None


def test_a_detectors_batch_too():
    targets = Targets(
        boxes=torch.rand(1, 3, 4),
        classes=torch.tensor([[1, 2, 0]]),
        valid=torch.tensor([[True, True, False]]),
        keys=torch.tensor([5]),
        masks=[[[np.ones((3, 2))]]],
    )
    images = torch.randint(256, (1, 3, 4, 6), dtype=torch.uint8)[:, :, :, ::2]  # with gaps
    batch = Batch(images, torch.tensor([[4, 3]]), [(8, 6)], [9], targets)
    found = hand_over(Lender(), batch)
    assert torch.equal(found.images, images) and torch.equal(found.sizes, batch.sizes)
    assert torch.equal(found.targets.boxes, targets.boxes)
    assert found.targets.valid.dtype == torch.bool and torch.equal(
        found.targets.valid, targets.valid
    )
    assert found.targets.masks is targets.masks


def test_a_slot_is_used_again_when_the_last_tensor_in_it_is_gone():
    lender = Lender()
    first = hand_over(lender, image_batch(1))
    second = hand_over(lender, image_batch(2))
    row = first.images[0, :, 0]  # a view
    del first
    third = hand_over(lender, image_batch(3))
    assert (row == 1).all() and (second.images == 2).all() and (third.images == 3).all()
    assert len(lender._slots) == 3
    del row
    fourth = hand_over(lender, image_batch(4))
    assert len(lender._slots) == 3
    assert (fourth.images == 4).all() and (third.images == 3).all()


def test_a_slot_that_is_too_small_makes_room_for_a_larger_one():
    lender = Lender()
    small = hand_over(lender, image_batch(1))
    large = hand_over(lender, image_batch(2, size=50))
    del small
    larger = hand_over(lender, image_batch(3, size=90))
    assert (large.images == 2).all() and (larger.images == 3).all()
    assert len(lender._slots) == 2
    assert larger.images.shape == (2, 3, 90, 90)


def test_a_slot_is_sent_once():
    lender = Lender()
    hollow, lent = lender.lend(image_batch(1))
    assert lent.memory is not None and hollow.images.numel() == 0
    borrow(hollow, lent, OWNER)  # and given back at once
    assert lender.lend(image_batch(2))[1].memory is None


def test_a_slot_that_came_in_inference_mode_is_given_back_outside_of_it():
    lender = Lender()
    hollow, lent = lender.lend(image_batch(1))
    with torch.inference_mode():
        arrived = torch.from_numpy(lent.memory.numpy())  # as tensors from other processes are
        batch = borrow(hollow, replace(lent, memory=arrived), OWNER)
    del batch
    assert lender.lend(image_batch(2))[1].memory is None


def test_shared_memory_that_is_full_is_said(monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(
        DataError,
        match=r"not enough shared memory .* reduce data.workers.*--shm-size.*No space left",
    ):
        Lender().lend(image_batch(1))


class _Numbers:
    """A dataset of constant images."""

    description = "numbers"

    def __len__(self):
        return 100

    def training_sample(self, index, epoch, position):
        return index

    def test_sample(self, index):
        return index


def collate(indices):
    return image_batch(indices[0])


@pytest.mark.parametrize("held", [0, 12])
def test_batches_of_other_processes_stay_as_they_are_as_long_as_they_are_held(held):
    """Far more batches than there are slots; each is looked at again after `held` further ones."""
    batches = TrainingBatches(_Numbers(), collate, 0, "error")
    keys = [[SampleRef(number, 0, number)] for number in range(60)]
    kept = []
    for number, batch in enumerate(BatchLoader(make_loader(batches, keys, 2), [])):
        kept.append(batch)
        assert (kept[0].images == number - len(kept) + 1).all()
        assert len({key for key in slots._known if key[0] != os.getpid()}) <= 2 * (held + 5)
        kept = kept[1:] if len(kept) > held else kept
    assert number == 59


def test_without_other_processes_nothing_is_lent():
    batches = TrainingBatches(_Numbers(), collate, 0, "error")
    loaded = batches[[SampleRef(5, 0, 0)]]
    assert isinstance(loaded, Loaded) and loaded.lent is None
    assert (loaded.received().images == 5).all()
