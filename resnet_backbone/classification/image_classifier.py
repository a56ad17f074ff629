"""A classifier with its normalisation and its loss: images in, losses or scores out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.classification.classifier import Classifier
from resnet_backbone.structures import ImageBatch

# Maps logits float[B, K] and labels int64[B], or class probabilities float[B, K], to the mean loss.
Loss = Callable[[Tensor, Tensor], Tensor]


class ImageClassifier(nn.Module):
    """Normalisation, network and loss.

    Args:
        network: Maps normalised images float32[B, 3, H, W] to logits float32[B, K].
        loss: The training loss.
        pixel_mean: Subtracted from the pixels (0 to 255), in `channel_order`: float32[3], or
            float32[3, h, w] for a mean image (the paper's per-pixel mean, section 3.4), which is
            resized to images of another size.
        pixel_std: The pixels are divided by it; three numbers in `channel_order`.
        channel_order: The channel order that the network expects; batches are always RGB.
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
        mean = pixel_mean.reshape(3, *(pixel_mean.shape[1:] or (1, 1)))  # [3, h, w] or [3, 1, 1]
        self.register_buffer("pixel_mean", mean, persistent=False)
        scale = 1.0 / torch.tensor(pixel_std)[:, None, None]  # [3, 1, 1]
        self.register_buffer("pixel_scale", scale, persistent=False)

    def forward(self, batch: ImageBatch) -> dict[str, Tensor] | Tensor:
        """Returns `losses(batch)` in training mode, `scores(batch.images)` in evaluation mode."""
        return self.losses(batch) if self.training else self.scores(batch.images)

    def losses(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Returns "loss_cls" and "error", the fraction of images that are misclassified.

        After mixup or CutMix, "error" compares each image with its first label only.
        """
        scores = self.scores(batch.images)  # [B, K]
        targets = batch.labels if batch.targets is None else batch.targets  # [B] or [B, K]
        wrong = scores.detach().argmax(dim=1) != batch.labels  # [B]
        return {"loss_cls": self.loss(scores, targets), "error": wrong.float().mean()}

    def scores(self, images: Tensor) -> Tensor:
        """Maps RGB images [B, 3, H, W], 0 to 255, to logits float32[B, K]."""
        return self.network(self.normalize(images)).float()

    def normalize(self, images: Tensor) -> Tensor:
        """Returns float32[B, 3, H, W]; pixels are normalised here and nowhere else."""
        if self.channel_order == "BGR":
            images = images.flip(1)
        return (images.float() - self._mean_for(images)) * self.pixel_scale

    def _mean_for(self, images: Tensor) -> Tensor:
        mean, size = self.pixel_mean, images.shape[-2:]
        if mean.shape[-2:] in ((1, 1), size):
            return mean
        return F.interpolate(mean[None], size, mode="bilinear", antialias=True)[0]  # [3, H, W]
