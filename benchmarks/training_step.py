"""A training step as a function of a batch, on the CPU or captured on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[Tensor, Tensor], None]


def sgd(model: nn.Module, rate: float, *, fused: bool | None = None) -> torch.optim.SGD:
    """Returns the paper's optimizer; `fused` None is what torch does by default."""
    return torch.optim.SGD(
        model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4, fused=fused
    )


def make_step(
    scores: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    *,
    bf16: bool,
) -> Step:
    """One training step in bfloat16 or float32."""

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(scores(images), labels)
        loss.backward()
        optimizer.step()

    return step


def captured(step: Step, images: Tensor, labels: Tensor) -> Step:
    """Returns `step` as a CUDA graph, for batches like this one."""
    static_images, static_labels = images.clone(), labels.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # allocations and algorithms settle before the capture
        for _ in range(3):
            step(static_images, static_labels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(static_images, static_labels)

    def replay(images: Tensor, labels: Tensor) -> None:
        static_images.copy_(images)
        static_labels.copy_(labels)
        graph.replay()

    return replay


def repeated(step: Step, images: Tensor, labels: Tensor) -> Callable[[], int]:
    """A run is one step on the CPU and 20 on a GPU."""

    def run() -> int:
        count = 20 if images.is_cuda else 1
        for _ in range(count):
            step(images, labels)
        return finished(count * len(images), images.device.type)

    return run


def finished(count: int, device: str) -> int:
    """Returns `count` once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return count
