"""Adds the device "gpu" to torch, under the key for backends written in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils import backend_registration

from fake_gpu import autocast
from resnet_backbone.utils.constants import constant

KIND = "gpu"
DEVICE = f"{KIND}:0"
# Weights get no values anyway, and drawing them would take most of the time.
_NO_INITS = {
    name: lambda tensor, *args, **kwargs: tensor
    for name in ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "constant_")
}


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of `torch.gpu`."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Event:
    """Stands in for `torch.cuda.Event`; the recorder replaces `synchronize`."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


def add() -> None:
    """Adds the device to this process. It says that it is CUDA, so CUDA's branches are taken."""
    backend_registration._setup_privateuseone_for_python_backend(KIND, _Module())
    torch.Tensor.is_cuda = property(lambda tensor: tensor.device.type == KIND)
    torch.cuda.Event = Event
    autocast.register(KIND)


@contextmanager
def pretended() -> Iterator[FakeTensorMode]:
    """Inside, tensors have no content, and constants reach the device as copies from the host."""
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    # A thread per device would not inherit the modes.
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        with torch.autograd.set_multithreading_enabled(False):
            try:
                yield mode
            finally:
                constant.cache_clear()  # they would not fit into another mode
                torch._C._set_only_lift_cpu_tensors(lifted)


def built(build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a model on the host, and moves it as `Module.to`, which swaps tensors, cannot here."""
    with unset_fake_temporarily(), mock.patch.multiple(nn.init, **_NO_INITS):
        model = build()
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                kept = parameter.requires_grad
                module._parameters[name] = nn.Parameter(_like(parameter), requires_grad=kept)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)
    return model


def _like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=DEVICE)
