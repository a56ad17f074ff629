"""The state of a training of three small layers, and steps of it."""

import torch
from torch import nn

from resnet_backbone.engine.optimizer import AveragedWeights
from resnet_backbone.engine.state import TrainState


def make_state(step=0, seed=0, optimizer="sgd"):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model.to(memory_format=torch.channels_last)
    if optimizer == "sgd":
        made = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    else:
        made = torch.optim.AdamW(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=8.0)
    state = TrainState(model, made, scaler, AveragedWeights(model, 0.9))
    state.progress.step = step
    return state


def advance(state, steps=1):
    for _ in range(steps):
        state.optimizer.zero_grad()
        loss = state.model(torch.randn(2, 3, 5, 5)).square().mean()
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.average.update(state.model)
        state.progress.step += 1


def everything(state):
    return {
        f"{file}: {name}": tensor.clone()
        for file, tensors in state.tensors().items()
        for name, tensor in tensors.items()
    }
