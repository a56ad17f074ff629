from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_backbone.data.coco.batch import collate_samples
from resnet_backbone.structures import Sample


def sample(height, width, count, image_id):
    generator = torch.Generator().manual_seed(image_id)
    return Sample(
        image=torch.randint(1, 256, (3, height, width), dtype=torch.uint8, generator=generator),
        image_id=image_id,
        original_size=(height * 2, width * 2),
        key=image_id * 100,
        boxes=torch.rand(count, 4, generator=generator),
        classes=torch.arange(count),
        masks=[np.ones((height, width), dtype=bool)] * count,
    )


def test_images_are_padded_at_the_bottom_and_right():
    samples = [sample(33, 20, 2, 1), sample(10, 65, 0, 2), sample(64, 64, 5, 3)]
    batch = collate_samples(samples, size_divisor=32)
    assert batch.images.shape == (3, 3, 64, 96) and batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.sizes.tolist() == [[33, 20], [10, 65], [64, 64]]
    for image, original in zip(batch.images, samples, strict=True):
        height, width = original.image.shape[1:]
        assert torch.equal(image[:, :height, :width], original.image)
        assert image[:, height:].count_nonzero() == image[:, :, width:].count_nonzero() == 0
    assert batch.image_ids == [1, 2, 3]
    assert batch.original_sizes == [(66, 40), (20, 130), (128, 128)]


@pytest.mark.parametrize(("divisor", "size"), [(1, (33, 65)), (16, (48, 80)), (32, (64, 96))])
def test_sides_are_the_next_multiples_of_what_the_model_requires(divisor, size):
    samples = [sample(33, 20, 2, 1), sample(10, 65, 0, 2)]
    assert collate_samples(samples, size_divisor=divisor).images.shape[2:] == size


def test_targets_are_padded_to_the_most_instances():
    samples = [sample(32, 32, 2, 1), sample(32, 32, 0, 2), sample(32, 32, 3, 3)]
    targets = collate_samples(samples).targets
    assert targets.boxes.shape == (3, 3, 4) and targets.boxes.dtype == torch.float32
    assert targets.classes.dtype == targets.keys.dtype == torch.int64
    assert targets.valid.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert torch.equal(targets.boxes[0, :2], samples[0].boxes)
    assert targets.boxes[0, 2:].count_nonzero() == targets.boxes[1].count_nonzero() == 0
    assert targets.keys.tolist() == [100, 200, 300]
    assert [len(masks) for masks in targets.masks] == [2, 0, 3]


def test_there_is_always_room_for_one_instance():
    targets = collate_samples([sample(32, 32, 0, 1)]).targets
    assert targets.boxes.shape == (1, 1, 4) and not targets.valid.any()


def test_a_batch_without_masks_says_so():
    samples = [replace(sample(32, 32, count, count), masks=()) for count in (2, 0)]
    assert collate_samples(samples).targets.masks == ()
