"""What has to be equal before benchmarks/classification.py times anything."""

from __future__ import annotations

import copy

import plain_cifar
import timm
import torch
import torchvision
from classification_contenders import Settings, cifar_classifier, loader_folder
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import transforms

import resnet_backbone as rb
from resnet_backbone.data.labelled.crops import CentreCrop
from resnet_backbone.data.labelled.image_folder import ImageFolder
from resnet_backbone.data.loading.jpeg import decode_image

BATCH, SIZE = 4, 64  # of ResNet-50's comparison
FLOAT, DOUBLE = 1e-5, 1e-8  # relative: of the loss in float32, of loss and gradients in float64


def check(section: str, settings: Settings) -> str:
    """Compares ours with the peers, and says what was found equal.

    Raises:
        AssertionError: they compute something else, so that their times mean nothing.
    """
    if section == "loader":
        return _loader(settings)
    return _cifar() if section == "cifar" else _resnet50()


def _loader(settings: Settings) -> str:
    """The test crop, in which nothing is random."""
    files = ImageFolder([loader_folder(settings)])
    ours = CentreCrop(256, 224)
    theirs = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()]
    )
    worst = 0
    for index in range(0, len(files), max(1, len(files) // 20)):
        found = ours(decode_image(files.read(index), files.names[index], max_pixels=10**8)).int()
        expected = theirs(Image.open(files.names[index]).convert("RGB")).int()
        worst = max(worst, int((found - expected).abs().max()))
    assert worst <= 2, worst
    return f"pixels of the centre crop within {worst} of 255"


def _cifar() -> str:
    torch.manual_seed(0)
    ours, theirs = cifar_classifier().train(), plain_cifar.ResNet20().train()
    theirs.load_state_dict(ours.network.state_dict())
    pixels = torch.randint(256, (128, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(10, (128,))
    images = plain_cifar.Images(pixels.numpy(), labels.tolist(), augment=False)
    batch = torch.stack([images[index][0] for index in range(128)])
    apart = (ours.normalize(pixels.permute(0, 3, 1, 2)) - batch).abs().max().item()
    assert apart < FLOAT, apart
    difference = _differences(ours.network, theirs, batch, labels)
    return f"normalised pixels within {apart:.0e}; plain PyTorch: {difference}"


def _resnet50() -> str:
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(1000, (BATCH,))
    ours = rb.create_classifier("resnet50").train()
    notes = []
    for name, theirs in (
        ("torchvision", torchvision.models.resnet50()),
        ("timm", timm.create_model("resnet50")),
    ):
        theirs.train().load_state_dict(ours.state_dict())
        notes.append(f"{name}: {_differences(ours, theirs, images, labels)}")
    return "; ".join(notes)


def _differences(ours: nn.Module, theirs: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Compares one pass in both directions, and what it does to the running statistics.

    Gradients are compared in float64. In float32 those of torch's own layers are only good to some
    1e-3, in either memory format, as normalisation takes differences of large sums.
    """
    results = []
    for dtype in (torch.float32, torch.float64):
        own = _pass(ours, images.to(dtype).contiguous(memory_format=torch.channels_last), labels)
        other = _pass(theirs, images.to(dtype), labels)
        results.append([_distance(a, b) for a, b in zip(own, other, strict=True)])
    single, double = results
    assert single[0] < FLOAT and max(double) < DOUBLE, results
    return (
        f"float32 loss within {single[0]:.0e}, float64 loss, gradients and statistics within "
        f"{max(double):.0e}"
    )


def _pass(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Returns the loss, all gradients, and all running statistics, each as one row of numbers."""
    model = copy.deepcopy(model).to(images.dtype)
    loss = F.cross_entropy(model(images), labels)
    parameters = dict(sorted(model.named_parameters()))
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    statistics = [tensor for _, tensor in sorted(model.named_buffers())]
    return [loss, *(torch.cat([t.flatten() for t in row]) for row in (gradients, statistics))]


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
