"""Small pieces of code with a known answer, among them the faults that the recorder is to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms, roi_align

from fake_gpu.device import DEVICE, KIND
from fake_gpu.recorder import Recorder, Traced, kind_of


def _traced(run: Callable[[], Mapping[str, Tensor]]) -> Callable[[], Traced]:
    def case() -> Traced:
        traced = Traced(Recorder(found=3))
        with traced.recorder:
            traced.results = {name: kind_of(value) for name, value in run().items()}
        return traced

    return case


def _waits() -> dict[str, Tensor]:
    x = torch.zeros(8, 4, device=DEVICE)
    later = torch.zeros(8).to(DEVICE, non_blocking=True)
    x.sum().item()
    x[0].tolist()
    x.nonzero()
    x[x[:, 0] > 0]
    x.new_tensor([1.0, 2.0])
    torch.tensor([1.0], device=DEVICE)
    x.cpu()
    if (x > 0).any():
        pass
    return {
        "kept": nms(x, x[:, 0], 0.5),
        "later": later,
        "arriving": x.to("cpu", non_blocking=True),
    }


def _autocast() -> dict[str, Tensor]:
    images, weight = (torch.zeros(2, 3, 3, 3, device=DEVICE) for _ in range(2))
    rows, half = images.flatten(1), torch.zeros(2, 27, dtype=torch.float16, device=DEVICE)
    boxes = torch.zeros(2, 5, device=DEVICE)
    with torch.autocast(KIND, torch.bfloat16):
        return {
            "conv2d": F.conv2d(images, weight),
            "matmul": rows @ rows.T,
            "linear": F.linear(rows, rows),
            "of float64": rows.double() @ rows.double().T,
            "relu": F.relu(half),
            "softmax": half.softmax(1),
            "sum": half.sum(),
            "sum with a dtype": half.sum(dtype=torch.float64),
            "log": half.log(),
            "exp": half.exp(),
            "cross_entropy": F.cross_entropy(
                half, torch.zeros(2, dtype=torch.int64, device=DEVICE)
            ),
            "addition": half + rows,
            "addcmul": torch.addcmul(half, rows, half),
            "roi_align": roi_align(images.bfloat16(), boxes, 2),
        }


def _two_devices() -> dict[str, Tensor]:
    return {"sum": torch.zeros(2, device=DEVICE) + torch.zeros(2)}


FAULTS = {
    "known: waits": _traced(_waits),
    "known: autocast": _traced(_autocast),
    "known: two devices": _traced(_two_devices),
}
