"""Optimizers, weight decay groups, averaged weights, and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_backbone.config.run_schema import SolverConfig
from resnet_backbone.errors import ConfigError

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def build_optimizer(model: nn.Module, solver: SolverConfig) -> torch.optim.Optimizer:
    """Returns SGD with momentum, AdamW or LAMB over the parameters that are not frozen.

    Weight decay is `weight_decay_norm` for parameters of normalisation layers, `weight_decay_bias`
    for biases of other layers, and `weight_decay` for the rest.
    """
    groups = decay_groups(
        model, solver.weight_decay, solver.weight_decay_norm, solver.weight_decay_bias
    )
    if solver.optimizer == "sgd":
        return _sgd(groups, solver)
    if solver.optimizer == "lamb":
        return _lamb(groups, solver.lr)
    # On a GPU fused kernels, since they can skip an update on the device, see `step_unless`.
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return torch.optim.AdamW(groups, lr=solver.lr, fused=on_gpu, foreach=not on_gpu)


def _sgd(groups: list[dict[str, object]], solver: SolverConfig) -> torch.optim.SGD:
    """Returns SGD whose momentum starts at zero.

    torch starts it with the first gradient, which is the same, but leaves memory uninitialised if
    that first update is skipped, as it often is in fp16.
    """
    optimizer = torch.optim.SGD(
        groups, lr=solver.lr, momentum=solver.momentum, nesterov=solver.nesterov, fused=True
    )
    if solver.momentum:
        for parameter in _parameters(optimizer):
            buffer = torch.zeros_like(parameter, requires_grad=False)
            optimizer.state[parameter]["momentum_buffer"] = buffer
    return optimizer


def _lamb(groups: list[dict[str, object]], lr: float) -> torch.optim.Optimizer:
    """Returns timm's LAMB (You et al. 2020), which "ResNet strikes back" uses."""
    try:
        from timm.optim import Lamb
    except ImportError:
        raise ConfigError(
            "solver.optimizer lamb needs timm: pip install 'resnet-backbone[timm]'"
        ) from None
    optimizer: torch.optim.Optimizer = Lamb(groups, lr=lr)
    return optimizer


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_bias: float | None = None,
) -> list[dict[str, object]]:
    """Returns parameter groups by weight decay; each trainable parameter is in exactly one.

    Args:
        model: The model whose parameters are grouped.
        weight_decay: Weight decay of weights.
        weight_decay_norm: Weight decay of all parameters of normalisation layers.
        weight_decay_bias: Weight decay of the other layers' biases; None: `weight_decay`.
    """
    bias = weight_decay if weight_decay_bias is None else weight_decay_bias
    decays: dict[Tensor, float] = {}
    for module in model.modules():
        is_norm = isinstance(module, _NORMS)
        for name, parameter in module.named_parameters(recurse=False):
            own = weight_decay_norm if is_norm else bias if name == "bias" else weight_decay
            if parameter.requires_grad:
                decays.setdefault(parameter, own)
    return [
        {"params": [p for p, own in decays.items() if own == decay], "weight_decay": decay}
        for decay in dict.fromkeys(decays.values())
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def step_unless(skipped: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Updates the parameters, unless `skipped` is 1; the host need not know, and does not wait.

    Fused kernels look at `skipped` themselves. What other optimizers have changed is put back;
    timm's LAMB counts the step nevertheless, on the host.

    Args:
        skipped: float32[1] on the parameters' device, 0 or 1.
        optimizer: The optimizer.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        # The attributes by which GradScaler tells fused kernels.
        optimizer.grad_scale, optimizer.found_inf = None, skipped.squeeze()  # type: ignore
        optimizer.step()
        return
    before = {tensor: tensor.clone() for tensor in _changing(optimizer)}
    optimizer.step()
    for tensor in _changing(optimizer):
        kept = before.get(tensor)
        kept = torch.zeros_like(tensor) if kept is None else kept  # moments start at zero
        tensor.copy_(torch.where(skipped.squeeze() > 0, kept, tensor))


def _changing(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Returns the tensors that an update changes: parameters, and what is kept for each."""
    parameters = _parameters(optimizer)
    slots = [slot for p in parameters for slot in optimizer.state.get(p, {}).values()]
    return [*parameters, *(slot for slot in slots if isinstance(slot, Tensor))]


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class AveragedWeights:
    """An exponential moving average of a model's parameters and floating-point buffers.

    After n updates with weights w1..wn, starting from w0, the average is
    d^n w0 + (1 - d) sum_k d^(n-k) wk. Integer buffers are copied.

    Args:
        model: The model; its current weights are the start of the average.
        decay: The decay d, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model's current weights."""
        present = model.state_dict()
        average, towards = [], []
        for name, tensor in self.tensors.items():
            if tensor.is_floating_point():
                average.append(tensor)
                towards.append(present[name])
            else:
                tensor.copy_(present[name])
        torch._foreach_lerp_(average, towards, 1.0 - self.decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchanges the average and the model's weights; a second call undoes it."""
        for name, tensor in model.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(self.tensors[name])
            self.tensors[name].copy_(kept)


def gradient_norm(parameters: Iterable[Tensor], limit: float | None = None) -> Tensor:
    """Returns the norm of all gradients together, 0-dim on their device; NaN or inf if one is.

    Args:
        parameters: The parameters; those without a gradient are left out.
        limit: Scale the gradients so that their norm is at most this; None leaves them as they are.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if limit is not None:
        return nn.utils.clip_grad_norm_(trained, limit, foreach=True)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients, foreach=True)
