"""A classifier with what surrounds it in training: pixels in, losses or scores out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.structures import ImageBatch

# Maps scores float[B, K] and labels int64[B], or rows of targets float[B, K], to the mean loss.
Loss = Callable[[Tensor, Tensor], Tensor]


class ImageClassifier(nn.Module):
    """Normalisation, network, loss.

    Args:
        network: Maps float32[B, 3, H, W] to scores float32[B, K].
        loss: What is minimised.
        pixel_mean: Of the 0-255 pixels, in `channel_order`: float32[3], or float32[3, h, w] for a
            mean image (the paper's per-pixel mean, section 3.4), which is resized to the images
            where they have another size.
        pixel_std: In `channel_order`.
        channel_order: What the network expects; batches are always RGB.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(
        self,
        network: Classifier,
        loss: Loss,
        *,
        pixel_mean: Tensor,
        pixel_std: Sequence[float],
        channel_order: Literal["RGB", "BGR"] = "RGB",
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.channel_order = channel_order
        mean = pixel_mean.reshape(3, *(pixel_mean.shape[1:] or (1, 1)))
        self.register_buffer("pixel_mean", mean, persistent=False)
        scale = 1.0 / torch.tensor(pixel_std)[:, None, None]
        self.register_buffer("pixel_scale", scale, persistent=False)

    def forward(self, batch: ImageBatch) -> dict[str, Tensor] | Tensor:
        """Returns `losses(batch)` in training mode and `scores(batch.images)` in evaluation."""
        return self.losses(batch) if self.training else self.scores(batch.images)

    def losses(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Returns "loss_cls" and "error", the fraction of the images that is not recognised.

        Where labels were mixed, an image counts as recognised by its first label.
        """
        scores = self.scores(batch.images)
        targets = batch.labels if batch.targets is None else batch.targets
        wrong = scores.detach().argmax(dim=1) != batch.labels
        return {"loss_cls": self.loss(scores, targets), "error": wrong.float().mean()}

    def scores(self, images: Tensor) -> Tensor:
        """Maps RGB images [B, 3, H, W], 0 to 255, to scores float32[B, K] before softmax."""
        return self.network(self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Returns float32[B, 3, H, W]; the only place where pixels are shifted and scaled."""
        if self.channel_order == "BGR":
            images = images.flip(1)
        return (images.float() - self._mean_for(images)) * self.pixel_scale

    def _mean_for(self, images: Tensor) -> Tensor:
        mean, size = self.pixel_mean, images.shape[-2:]
        if mean.shape[-2:] in ((1, 1), size):
            return mean
        return F.interpolate(mean[None], size, mode="bilinear", antialias=True)[0]
