"""Blocks in a row: strides, checkpointing, and how the weights begin."""

import math

import pytest
import torch
from torch import nn

from resnet_backbone.backbone.blocks import BasicBlock, BlockPosition, BlockStyle, Bottleneck
from resnet_backbone.backbone.deform import DeformConv2d
from resnet_backbone.backbone.preactivation import PreActivationBasicBlock, PreActivationBottleneck
from resnet_backbone.backbone.stage import Stage, StageSpec, init_weights
from resnet_backbone.create import create_backbone

BLOCKS = [BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck]
PLAIN = BlockStyle()


def test_stage_strides_once_and_dilates_everywhere():
    stage = Stage(Bottleneck, StageSpec(64, 32, 2, [0.0] * 3, dilation=2, first_dilation=2), PLAIN)
    assert [block.conv2.stride for block in stage] == [(2, 2), (1, 1), (1, 1)]
    assert {block.conv2.dilation for block in stage} == {(2, 2)}
    assert stage.out_channels == 128
    assert stage(torch.zeros(1, 64, 8, 8)).shape == (1, 128, 4, 4)


def test_the_first_block_of_a_dilated_stage_may_be_dilated_less():
    """As in torchvision, where it keeps the dilation of the stage before."""
    stage = Stage(BasicBlock, StageSpec(8, 8, 1, [0.0] * 3, dilation=4, first_dilation=2), PLAIN)
    dilations = [(block.conv1.dilation[0], block.conv2.dilation[0]) for block in stage]
    assert dilations == [(2, 4), (4, 4), (4, 4)]
    assert stage(torch.zeros(1, 8, 11, 7)).shape == (1, 8, 11, 7)


def test_each_block_has_its_own_drop_rate():
    rates = [0.0, 0.125, 0.5]
    assert [block.drop_rate for block in Stage(BasicBlock, StageSpec(8, 8, 1, rates), PLAIN)] == (
        rates
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_a_deformable_stage_deforms_all_its_3x3_convolutions_and_no_others(block):
    stage = Stage(block, StageSpec(16, 8, 2, [0.0] * 2, deformable=True), PLAIN)
    for name, conv in stage.named_modules():
        if isinstance(conv, nn.Conv2d) and not name.endswith(".offset"):
            assert isinstance(conv, DeformConv2d) == (conv.kernel_size == (3, 3)), name


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_initial_deviation_is_he_s(kernel):
    """sqrt(2 / (k * k * C_out)): He et al. 2015, equation 14."""
    conv = torch.nn.Conv2d(128, 64, kernel, bias=False)
    init_weights(conv)
    expected = math.sqrt(2 / (kernel * kernel * 64))
    # 8192 or more draws: the deviation's own deviation is below 0.8 %, the mean's below 1.2 %.
    assert abs(conv.weight.std().item() / expected - 1) < 0.04
    assert abs(conv.weight.mean().item() / expected) < 0.05


def test_initialisation_follows_the_seed():
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        stage = Stage(BasicBlock, StageSpec(8, 8, 1, [0.0]), PLAIN)
        init_weights(stage)
        return stage[0].conv2.weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_frozen_norms_without_statistics_keep_activations_in_range(name):
    """Each block adds 1 / blocks of the variance, so all together add a factor of e at most; the
    convolutions' own gain (fan_out, not fan_in) leaves room for another order of magnitude."""
    net = create_backbone(name, norm="FrozenBN").eval()
    with torch.no_grad():
        features = net(torch.randn(1, 3, 128, 128))
    assert all(0.05 < feature.std() < 10 for feature in features.values())


@pytest.mark.parametrize("block", BLOCKS)
def test_zero_init_makes_every_block_its_shortcut(block):
    """Goyal et al. 2017, section 5.1; after the ReLU, the input is not negative anyway."""
    width = 64 // block.expansion
    net = torch.nn.Sequential(*(block(64, width, BlockPosition(), PLAIN) for _ in range(3)))
    init_weights(net, zero_init_residual=True)
    x = torch.rand(2, 64, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(x), x)


@pytest.mark.parametrize("count", [1, 3])
def test_the_last_frozen_norm_of_each_block_shares_the_variance_of_all(count):
    stage = Stage(Bottleneck, StageSpec(32, 8, 1, [0.0] * count), BlockStyle("FrozenBN"))
    init_weights(stage)
    for block in stage:
        torch.testing.assert_close(block.bn3.weight, torch.full((32,), count**-0.5))
        assert (block.bn2.weight == 1).all()
        assert not block.bn3.bias.any()


def test_biases_begin_at_zero_and_taps_in_their_places():
    """Both are convolutions, whose weights are drawn like all others'."""
    net = nn.Sequential(nn.Conv2d(3, 5, 1), DeformConv2d(5, 6, stride=1, dilation=1, groups=1))
    nn.init.normal_(net[1].offset.weight)
    init_weights(net)
    assert not net[0].bias.any() and net[0].weight.all()
    assert net[1].weight.all()
    assert not net[1].offset.weight.any() and not net[1].offset.bias.any()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnetv2_50"])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_activation_checkpointing_changes_nothing_but_memory(name, norm):
    images = torch.randn(2, 3, 64, 64)
    kept, results = [], []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = create_backbone(
            name,
            norm=norm,
            activation_checkpointing=checkpointing,
            freeze_at=2,
            stochastic_depth=0.3,
        ).train()
        saved = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(images)["res5"].square().mean()
        kept.append(saved)
        loss.backward()
        grads = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
        results.append((loss, grads, net.state_dict()))
    (loss, grads, state), (other_loss, other_grads, other_state) = results
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(grad, other_grads[key]) for key, grad in grads.items())
    assert all(torch.equal(value, other_state[key]) for key, value in state.items())
    assert kept[1] < kept[0] / 2


def test_activations_are_kept_where_nothing_will_be_computed_backward():
    """In evaluation, and under no_grad, a second computation would be of no use."""
    stage = Stage(BasicBlock, StageSpec(8, 8, 1, [0.0] * 2), PLAIN, activation_checkpointing=True)
    calls = []
    stage[0].conv1.register_forward_hook(lambda *arguments: calls.append(1))
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    stage.eval()(x).sum().backward()
    assert len(calls) == 1
    with torch.no_grad():
        stage.train()(x)
    assert len(calls) == 2
    stage(x).sum().backward()
    assert len(calls) == 4


def test_a_batch_that_is_seen_twice_is_counted_once_by_cumulative_statistics_too():
    """With momentum None, statistics are the mean over all batches (torch.nn.BatchNorm2d)."""
    states = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        spec = StageSpec(8, 8, 1, [0.0] * 2)
        stage = Stage(BasicBlock, spec, PLAIN, activation_checkpointing=checkpointing)
        for module in stage.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        for _ in range(3):
            stage(torch.randn(2, 8, 5, 7)).square().mean().backward()
        states.append(stage.state_dict())
        assert stage[0].bn1.momentum is None and stage[0].bn1.num_batches_tracked == 3
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
