import numpy as np
import pytest
import torch
from PIL import Image

from resnet_backbone.data.loading.any_image import in_batches, read_pixels
from resnet_backbone.errors import DataError

OPTIONS = {"exif": "apply", "max_pixels": 10_000, "bit_depth": "auto"}
PIXELS = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)


def test_all_kinds_have_the_same_pixels():
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1)
    frozen = PIXELS.copy()
    frozen.setflags(write=False)
    for image in (Image.fromarray(PIXELS), PIXELS, frozen, expected):
        assert torch.equal(read_pixels(image, **OPTIONS), expected)
    assert torch.equal(read_pixels(PIXELS[::-1], **OPTIONS), expected.flip(1))


def test_what_is_no_image_or_too_large_is_refused():
    with pytest.raises(DataError, match=r"shape \(13, 21\) and type uint8, expected uint8 pixels"):
        read_pixels(PIXELS[..., 0], **OPTIONS)
    with pytest.raises(DataError, match=r"type torch\.float32"):
        read_pixels(torch.zeros(3, 5, 7), **OPTIONS)
    with pytest.raises(DataError, match="found an? int, expected an image"):
        read_pixels(3, **OPTIONS)
    with pytest.raises(DataError, match="the image: 21 x 13 pixels are more"):
        read_pixels(Image.fromarray(PIXELS), **OPTIONS | {"max_pixels": 100})


def test_images_of_one_size_are_predicted_together_in_their_order():
    images = [torch.full((3, 2, width), index) for index, width in enumerate((4, 5, 4, 4, 5, 4))]
    seen = []

    def predict(chosen):
        seen.append(chosen)
        return [int(images[index][0, 0, 0]) for index in chosen]

    assert in_batches(images, predict, 3) == [0, 1, 2, 3, 4, 5]
    assert seen == [[0, 2, 3], [5], [1, 4]]
    assert in_batches([], predict, 3) == []
