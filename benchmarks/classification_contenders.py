"""What benchmarks/classification.py races: ours and its peers, by section.

A contender is made by `CONTENDERS[section][name](settings)`: a function that does the section's
work once and returns how many images it did it to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plain_cifar
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from training_step import captured, finished, make_step, repeated, sgd

import resnet_backbone as rb
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.data.labelled.crops import RandomFlip, RandomResizedCrop
from resnet_backbone.data.labelled.dataset import ClassificationDataset, collate_images
from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.data.labelled.in_memory import InMemoryImages, InMemoryTraining
from resnet_backbone.data.loading.loader import BatchLoader, TrainingBatches, make_loader
from resnet_backbone.data.loading.order import TrainingOrder
from resnet_backbone.utils.allocator import keep_freed_memory

OURS = "ours"
IN_BF16 = ", bf16"  # after the name of a contender on a CPU
LOADER_BATCH, CIFAR_BATCH = 64, 128


@dataclass(frozen=True)
class Settings:
    """How much work a contender is given.

    Attributes:
        device: "cpu" or "cuda".
        images: Folder of class folders of JPEG files, for the loader.
        loader_images: How many of them a run reads; as often as it takes.
        cifar_images: Images of an epoch.
        batch: Images of a ResNet-50 step.
        size: Their side.
        bf16: Whether to train under autocast to bfloat16 rather than in float32.
    """

    device: str
    images: Path | None
    loader_images: int
    cifar_images: int
    batch: int
    size: int
    bf16: bool


Run = Callable[[], int]


def our_loader(settings: Settings) -> Run:
    """The loader of tools/pretrain.py with the same augmentation as `torchvision_loader`."""
    files = ImageFolder([loader_folder(settings)])
    dataset = ClassificationDataset(files, training=[(0, (RandomResizedCrop(), RandomFlip()))])
    batches = TrainingBatches(dataset, collate_images, seed=0, on_bad_sample="error")
    order = TrainingOrder(
        np.zeros(len(dataset), dtype=bool), batch_size=LOADER_BATCH, seed=0, group=False
    )
    keys = [order.batch(step) for step in range(settings.loader_images // LOADER_BATCH)]
    return lambda: sum(len(b) for b in BatchLoader(make_loader(batches, keys, 2), []))


def torchvision_loader(settings: Settings) -> Run:
    """ImageFolder, PIL, transforms, DataLoader."""
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
    ]
    dataset = torchvision.datasets.ImageFolder(
        str(loader_folder(settings)), transforms.Compose(steps)
    )
    count = settings.loader_images // LOADER_BATCH * LOADER_BATCH
    sampler = RandomSampler(dataset, num_samples=count)
    loader = DataLoader(dataset, LOADER_BATCH, sampler=sampler, num_workers=2)
    return lambda: sum(len(labels) for _, labels in loader)


def our_cifar(settings: Settings) -> Run:
    """Resident images and our network; on a GPU the whole step is one CUDA graph."""
    keep_freed_memory()
    device = torch.device(settings.device)
    model = cifar_classifier().to(device).train()
    data = InMemoryTraining(
        _resident(settings.cifar_images),
        batch_size=CIFAR_BATCH,
        seed=0,
        padding=4,
        flip=0.5,
        fill=torch.tensor([125, 123, 114]),
        device=device,
    )
    step = make_step(model.scores, sgd(model, 0.1, fused=True), device, bf16=settings.bf16)
    if device.type == "cuda":
        first = data.batch(0)
        step = captured(step, first.images, first.labels)

    def run() -> int:
        for number in range(-(-settings.cifar_images // CIFAR_BATCH)):
            batch = data.batch(number)
            step(batch.images, batch.labels)
        return finished(settings.cifar_images, settings.device)

    return run


def plain_cifar_loop(settings: Settings) -> Run:
    """See plain_cifar.py; on a GPU in float32, as the tutorials train."""
    images = _resident(settings.cifar_images)
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    dataset = plain_cifar.Images(np.ascontiguousarray(pixels), images.labels.tolist())
    cuda = settings.device == "cuda"
    loader = plain_cifar.make_loader(dataset, pin_memory=cuda)
    model = plain_cifar.ResNet20().to(settings.device)
    optimizer = sgd(model, 0.1)
    bf16 = settings.bf16 and not cuda

    def run() -> int:
        plain_cifar.train_epoch(model, loader, optimizer, settings.device, bf16=bf16)
        return finished(settings.cifar_images, settings.device)

    return run


def our_resnet50(settings: Settings) -> Run:
    """Our training step; on a GPU as one CUDA graph."""
    keep_freed_memory()
    model = rb.create_classifier("resnet50").to(settings.device).train()
    images, labels = imagenet_batch(settings)
    images = images.contiguous(memory_format=torch.channels_last)
    device = torch.device(settings.device)
    step = make_step(model, sgd(model, 1e-3, fused=True), device, bf16=settings.bf16)
    if device.type == "cuda":
        step = captured(step, images, labels)
    return repeated(step, images, labels)


def torchvision_resnet50(settings: Settings) -> Run:
    """As torchvision's reference trains it."""
    return _peer_resnet50(torchvision.models.resnet50(), settings)


def timm_resnet50(settings: Settings) -> Run:
    """As timm trains it by default; on a GPU in channels_last."""
    model = timm.create_model("resnet50")
    if settings.device == "cuda":
        model = model.to(memory_format=torch.channels_last)
    return _peer_resnet50(model, settings)


CONTENDERS: dict[str, dict[str, Callable[[Settings], Run]]] = {
    "loader": {OURS: our_loader, "torchvision": torchvision_loader},
    "cifar": {OURS: our_cifar, "plain PyTorch": plain_cifar_loop},
    "resnet50": {OURS: our_resnet50, "torchvision": torchvision_resnet50, "timm": timm_resnet50},
}


def cifar_classifier() -> ImageClassifier:
    """Returns our ResNet-20 with the pixels' normalisation of `plain_cifar`."""
    return ImageClassifier(
        rb.create_classifier("resnet20_cifar", num_classes=10),
        F.cross_entropy,
        pixel_mean=255 * torch.tensor(plain_cifar.MEAN),
        pixel_std=[255 * std for std in plain_cifar.STD],
    )


def imagenet_batch(settings: Settings) -> tuple[Tensor, Tensor]:
    """Returns float[B, 3, size, size] and int64[B] on the device."""
    torch.manual_seed(0)
    images = torch.randn(settings.batch, 3, settings.size, settings.size, device=settings.device)
    return images, torch.randint(1000, (settings.batch,), device=settings.device)


def _resident(count: int) -> InMemoryImages:
    """Pixels at random: what they show does not change the time."""
    generator = torch.Generator().manual_seed(0)
    return InMemoryImages(
        torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator),
        torch.randint(10, (count,), generator=generator),
        [str(number) for number in range(count)],
        tuple("0123456789"),
    )


def _peer_resnet50(model: nn.Module, settings: Settings) -> Run:
    model = model.to(settings.device).train()
    images, labels = imagenet_batch(settings)
    if settings.device == "cuda":
        images = images.contiguous(memory_format=torch.channels_last)
    device = torch.device(settings.device)
    step = make_step(model, sgd(model, 1e-3), device, bf16=settings.bf16)
    return repeated(step, images, labels)


def loader_folder(settings: Settings) -> Path:
    """Returns where the JPEG files are."""
    if settings.images is None:
        raise SystemExit("the loader's section needs --images DIR, a folder of class folders")
    return settings.images
