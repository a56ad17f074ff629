"""ResNet-20 for CIFAR-10 as it is usually trained with torchvision: what ours is measured against.

Written for this comparison after the paper's section 4.2, with the parts that tutorials use: images
as arrays that become PIL images one by one, torchvision's transforms, a DataLoader with two
workers, NCHW, and the optimizer's defaults.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10, 0 to 1


class Block(nn.Module):
    """Two 3x3 convolutions and the shortcut, which pads with zeros where shapes differ."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.extra = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[B, in_channels, H, W] to float[B, channels, H / stride, W / stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.extra:
            half = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(out + x)


class ResNet20(nn.Module):
    """Its parameters are called as ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float[B, 3, 32, 32] to scores float[B, 10]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Images(Dataset):
    """What torchvision.datasets.CIFAR10 does with each image.

    Args:
        pixels: uint8[N, 32, 32, 3].
        labels: Class of each.
        augment: Crop and flip at random.
    """

    def __init__(self, pixels: np.ndarray, labels: list[int], *, augment: bool = True) -> None:
        self.pixels, self.labels = pixels, labels
        random = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose(
            [
                *(random if augment else []),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def make_loader(images: Images, *, pin_memory: bool = False) -> DataLoader:
    """Returns shuffled batches of 128."""
    return DataLoader(images, batch_size=128, shuffle=True, num_workers=2, pin_memory=pin_memory)


def train_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    device: str,
    *,
    bf16: bool = False,
) -> None:
    """The loop of the tutorials, in float32 or under autocast to bfloat16."""
    model.train()
    for images, labels in loader:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            scores = model(images.to(device, non_blocking=True))
            loss = F.cross_entropy(scores, labels.to(device, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
