import math

import pytest
import torch
from torch import nn

from resnet_backbone.config.schema import SolverConfig
from resnet_backbone.engine.optimizer import (
    AveragedWeights,
    build_optimizer,
    decay_groups,
    gradient_norm,
    set_learning_rate,
    step_unless,
)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.batch = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Linear(4, 2)
        self.tied = self.head


def test_norms_are_not_decayed_and_frozen_parameters_are_left_out():
    model = Model()
    groups = {group["weight_decay"]: group["params"] for group in decay_groups(model, 1e-4, 0.0)}
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[p] for p in groups[1e-4]] == [
        "conv.weight",
        "conv.bias",
        "head.weight",
        "head.bias",
    ]
    assert [names[p] for p in groups[0.0]] == [
        "batch.weight",
        "batch.bias",
        "group.weight",
        "group.bias",
    ]


def test_biases_may_have_a_decay_of_their_own():
    model = Model()
    groups = decay_groups(model, 1e-4, 0.5, weight_decay_bias=0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {group["weight_decay"]: [names[p] for p in group["params"]] for group in groups}
    assert found[0.0] == ["conv.bias", "head.bias"]
    assert found[1e-4] == ["conv.weight", "head.weight"] and len(found[0.5]) == 4


def test_lamb_is_as_timm_makes_it():
    """One step of LAMB on the same gradients, norms and biases not decayed."""
    optim = pytest.importorskip("timm.optim", reason="LAMB is timm's")
    torch.manual_seed(0)
    ours, theirs = Model(), Model()
    theirs.load_state_dict(ours.state_dict())
    solver = SolverConfig(optimizer="lamb", lr=0.1, weight_decay=0.02, weight_decay_bias=0.0)
    pairs = (
        (ours, build_optimizer(ours, solver)),
        (theirs, optim.create_optimizer_v2(theirs, "lamb", lr=0.1, weight_decay=0.02)),
    )
    for model, optimizer in pairs:
        torch.manual_seed(1)
        for _ in range(2):
            optimizer.zero_grad()
            model.head(
                model.batch(model.conv(torch.randn(2, 3, 4, 4))).mean((2, 3))
            ).sum().backward()
            optimizer.step()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_equal_decays_share_a_group():
    assert len(decay_groups(Model(), 1e-4, 1e-4)) == 1


def test_the_optimizers_have_the_settings_asked_for():
    sgd = build_optimizer(Model(), SolverConfig(lr=0.5, momentum=0.8, weight_decay=0.1))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups} == {
        (0.5, 0.8, 0.1),
        (0.5, 0.8, 0.0),
    }
    adamw = build_optimizer(Model(), SolverConfig(optimizer="adamw", weight_decay_norm=0.3))
    assert isinstance(adamw, torch.optim.AdamW)
    assert [group["weight_decay"] for group in adamw.param_groups] == [1e-4, 0.3]
    set_learning_rate(adamw, 0.25)
    assert [group["lr"] for group in adamw.param_groups] == [0.25, 0.25]


def test_sgd_with_momentum_in_closed_form():
    """v1 = g + wd w0, v2 = 0.9 v1 + g + wd w1, w = w - lr v (torch.optim.SGD's definition)."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(2.0)
    optimizer = build_optimizer(model, SolverConfig(lr=0.1, momentum=0.9, weight_decay=0.5))
    for _ in range(2):
        optimizer.zero_grad()
        (3.0 * model.weight).sum().backward()
        optimizer.step()
    first = 2.0 - 0.1 * (3 + 0.5 * 2.0)
    second = first - 0.1 * (0.9 * (3 + 0.5 * 2.0) + 3 + 0.5 * first)
    assert model.weight.item() == pytest.approx(second, rel=1e-12)


def test_adamw_in_closed_form():
    """Loshchilov and Hutter 2019, algorithm 2: moments corrected for their start at zero."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(2.0)
    optimizer = build_optimizer(model, SolverConfig(optimizer="adamw", lr=0.1, weight_decay=0.5))
    weight, m, v = 2.0, 0.0, 0.0
    for step, gradient in enumerate((3.0, -1.0, 0.5), start=1):
        model.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        ratio = m / (1 - 0.9**step) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        weight -= 0.1 * 0.5 * weight + 0.1 * ratio
    assert model.weight.item() == pytest.approx(weight, rel=1e-12)


def test_the_average_in_closed_form():
    model = nn.BatchNorm1d(2).double()
    decay, series = 0.75, [1.0, -2.0, 5.0, 0.5]
    average = AveragedWeights(model, decay)
    for step, value in enumerate(series):
        model.weight.data.fill_(value)
        model.running_mean.fill_(10 * value)
        model.num_batches_tracked.fill_(step)
        average.update(model)
    n = len(series)
    tail = sum((1 - decay) * decay ** (n - 1 - k) * value for k, value in enumerate(series))
    expected = decay**n * 1.0 + tail
    assert average.tensors["weight"].tolist() == pytest.approx([expected] * 2, rel=1e-12)
    assert average.tensors["running_mean"].tolist() == pytest.approx([10 * tail] * 2, rel=1e-12)
    assert average.tensors["num_batches_tracked"] == 3


def test_swapping_twice_changes_nothing():
    model = nn.BatchNorm1d(2)
    average = AveragedWeights(model, 0.5)
    model.weight.data.fill_(7.0)
    average.swap(model)
    assert model.weight.tolist() == [1.0, 1.0]
    assert average.tensors["weight"].tolist() == [7.0, 7.0]
    average.swap(model)
    assert model.weight.tolist() == [7.0, 7.0]
    assert average.tensors["weight"].tolist() == [1.0, 1.0]


def test_constant_weights_average_to_exactly_themselves():
    model = nn.Linear(100, 10)
    average = AveragedWeights(model, 0.999)
    for _ in range(10):
        average.update(model)
    assert torch.equal(average.tensors["weight"], model.weight)


def test_clipping_scales_all_gradients_to_the_limit():
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert gradient_norm(parameters, 1.0).item() == pytest.approx(5.0)
    # torch divides by norm + 1e-6.
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.8]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_update_is_skipped_on_the_device(kind, fused):
    """With fused kernels, as on a GPU, and without; what was skipped does not count."""
    weights, numbers = [], iter((3.0, torch.inf, 5.0))
    for marks in ((0.0, 1.0, 0.0), (0.0, 0.0)):
        parameter = nn.Parameter(torch.tensor([2.0, -1.0]))
        optimizer = kind([parameter], lr=0.1, fused=fused)
        for mark in marks:
            parameter.grad = torch.full((2,), next(numbers))
            step_unless(torch.tensor([mark]), optimizer)
        weights.append(parameter.detach())
        numbers = iter((3.0, 5.0))
    assert torch.equal(*weights)


@pytest.mark.parametrize("limit", [None, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_norm_of_all_gradients_shows_one_that_is_not_finite(value, limit):
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([2.0, 0, 0]), torch.tensor([0, 1.0, 2.0])
    assert gradient_norm(parameters, None).item() == pytest.approx(3.0)
    parameters[1].grad[1] = value
    assert not gradient_norm(parameters, limit).isfinite()
