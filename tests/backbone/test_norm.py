"""Normalisation layers, and folding against not folding."""

import pytest
import torch
from torch import nn

from resnet_backbone.backbone.norm import FrozenBatchNorm2d, conv_norm, make_norm
from resnet_backbone.errors import ConfigError


def trained_batch_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, dtype=torch.float64)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.1, 2)
    return norm.eval()


def test_frozen_norm_equals_batch_norm_in_evaluation():
    norm = trained_batch_norm(6)
    frozen = FrozenBatchNorm2d.from_batch_norm(norm).train()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(frozen(x), norm(x))
    assert list(frozen.parameters()) == []
    assert set(frozen.state_dict()) == {"weight", "bias", "running_mean", "running_var"}


def test_frozen_norm_keeps_eps_and_ignores_the_counter():
    norm = nn.BatchNorm2d(4, eps=1e-3)
    assert "num_batches_tracked" in norm.state_dict()
    assert FrozenBatchNorm2d.from_batch_norm(norm).eps == 1e-3
    FrozenBatchNorm2d(4).load_state_dict(norm.state_dict())
    with pytest.raises(RuntimeError, match="surplus"):
        FrozenBatchNorm2d(4).load_state_dict({**norm.state_dict(), "surplus": torch.ones(1)})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frozen_norm_keeps_the_dtype_of_its_input(dtype):
    assert FrozenBatchNorm2d(4)(torch.zeros(1, 4, 2, 2, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("bias", [False, True])
def test_folded_equals_unfolded_with_its_gradients(bias):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias).double()
    norm = FrozenBatchNorm2d.from_batch_norm(trained_batch_norm(6))
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    leaves = [x, *conv.parameters()]

    folded, unfolded = conv_norm(x, conv, norm), norm(conv(x))
    torch.testing.assert_close(folded, unfolded)
    weights = torch.randn_like(folded)
    torch.testing.assert_close(
        torch.autograd.grad((folded * weights).sum(), leaves),
        torch.autograd.grad((unfolded * weights).sum(), leaves),
    )


def test_other_norms_are_called():
    conv, norm = nn.Conv2d(3, 32, 1), nn.GroupNorm(32, 32)
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(conv_norm(x, conv, norm), norm(conv(x)))


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("BN", nn.BatchNorm2d),
        ("FrozenBN", FrozenBatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("GN", nn.GroupNorm),
    ],
)
def test_kinds(kind, type_):
    norm = make_norm(kind, 64)
    assert type(norm) is type_
    assert norm.eps == 1e-5
    assert norm(torch.randn(2, 64, 3, 3)).shape == (2, 64, 3, 3)


@pytest.mark.parametrize("kind", ["BN", "SyncBN", "GN"])
def test_only_constants_work_without_an_epsilon(kind):
    assert make_norm("FrozenBN", 64, 0.0).eps == 0
    with pytest.raises(ConfigError, match=f"norm: {kind} needs a norm_eps above 0"):
        make_norm(kind, 64, 0.0)


def test_group_norm_has_32_groups():
    assert make_norm("GN", 64).num_groups == 32


def test_sync_norm_is_batch_norm_where_there_is_nobody_to_sync_with():
    sync, plain = make_norm("SyncBN", 8).train(), make_norm("BN", 8).train()
    x = torch.randn(4, 8, 3, 3)
    assert torch.equal(sync(x), plain(x))
    assert torch.equal(sync.running_var, plain.running_var)


def test_unknown_kind():
    with pytest.raises(
        ConfigError, match="norm: got 'LN', expected one of BN, FrozenBN, SyncBN, GN"
    ):
        make_norm("LN", 8)
