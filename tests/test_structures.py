"""The plain types: moving between devices changes where tensors are and nothing else."""

import dataclasses

import pytest
import torch

from resnet_backbone.structures import Batch, Detections, Sample, Targets


def batch(targets: bool = True) -> Batch:
    masks = [[[]], []]
    return Batch(
        images=torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8),
        sizes=torch.tensor([[30, 60], [32, 64]]),
        original_sizes=[(15, 30), (32, 64)],
        image_ids=[7, 9],
        targets=Targets(
            boxes=torch.rand(2, 1, 4),
            classes=torch.tensor([[3], [0]]),
            valid=torch.tensor([[True], [False]]),
            keys=torch.tensor([1, 2]),
            masks=masks,
        )
        if targets
        else None,
    )


def tensors_of(item) -> dict[str, torch.Tensor]:
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def test_a_batch_moves_all_its_tensors():
    """The meta device holds no data, so that a tensor left behind shows on any machine."""
    moved = batch().to("meta")
    assert {t.device.type for t in tensors_of(moved).values()} == {"meta"}
    assert {t.device.type for t in tensors_of(moved.targets).values()} == {"meta"}
    assert set(tensors_of(moved.targets)) == {"boxes", "classes", "valid", "keys"}


def test_moving_keeps_what_is_no_tensor():
    original = batch()
    moved = original.to("cpu")
    assert moved.image_ids == original.image_ids
    assert moved.original_sizes == original.original_sizes
    assert moved.targets.masks is original.targets.masks
    assert torch.equal(moved.images, original.images)
    assert torch.equal(moved.targets.boxes, original.targets.boxes)


def test_a_batch_without_targets_moves_too():
    assert batch(targets=False).to("cpu").targets is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinning needs a CUDA device")
def test_pinning_reaches_every_tensor():
    pinned = batch().pin_memory()
    assert all(t.is_pinned() for t in tensors_of(pinned).values())
    assert all(t.is_pinned() for t in tensors_of(pinned.targets).values())
    assert batch(targets=False).pin_memory().targets is None


@pytest.mark.parametrize("masks", [None, torch.zeros(2, 5, 6, dtype=torch.bool)])
def test_detections_have_a_length_and_come_to_the_host(masks):
    found = Detections(
        image_id=3,
        size=(5, 6),
        boxes=torch.rand(2, 4),
        scores=torch.tensor([0.9, 0.1]),
        classes=torch.tensor([1, 0]),
        masks=masks,
    )
    assert len(found) == 2
    copy = found.cpu()
    assert (copy.image_id, copy.size) == (3, (5, 6))
    assert torch.equal(copy.boxes, found.boxes)
    assert (copy.masks is None) == (masks is None)


@pytest.mark.parametrize("kind", [Sample, Targets, Batch, Detections])
def test_they_are_frozen(kind):
    assert kind.__dataclass_params__.frozen
