"""Pictures of training images with their classes, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from resnet_backbone.report.draw import titled
from resnet_backbone.structures import ImageBatch

SIDE = 240  # smaller images are enlarged to about this, so that their classes are legible
SHOWN = 2  # classes of a mixed image


def draw_labels(batch: ImageBatch, class_names: Sequence[str], count: int) -> list[Image.Image]:
    """Returns pictures of the first `count` images below their classes.

    Args:
        batch: Images on any device; mixed ones have the shares of their classes: "dog 0.63, cat
            0.37", without what label smoothing gives to all classes.
        class_names: The name of each class.
        count: Maximum number of pictures.
    """
    return [
        titled(_picture(image), _label(batch, index, class_names))
        for index, image in enumerate(batch.images[:count])
    ]


def _picture(image: Tensor) -> Image.Image:
    pixels = image.round().clamp(0, 255).byte() if image.is_floating_point() else image
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    factor = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), 0)


def _label(batch: ImageBatch, index: int, class_names: Sequence[str]) -> str:
    if batch.targets is None:
        return class_names[int(batch.labels[index])]
    target = batch.targets[index].cpu()
    # Label smoothing gives every class, wanted or not, at least the smallest share.
    share = (target - target.min()) / (target - target.min()).sum().clamp_min(1e-12)
    values, classes = share.topk(min(SHOWN, len(share)))
    pairs = zip(values.tolist(), classes.tolist(), strict=True)
    return ", ".join(f"{class_names[k]} {value:.2f}" for value, k in pairs if value >= 0.005)
