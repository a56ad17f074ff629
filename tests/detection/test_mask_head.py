"""The mask branch against computing every class's mask first."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resnet_backbone.detection.mask_head import MaskHead, mask_loss


def head(layers=2):
    made = MaskHead(6, channels=5, layers=layers, num_classes=4)
    torch.nn.init.normal_(made.predictor.weight)
    torch.nn.init.normal_(made.predictor.bias)
    return made


def all_classes(made, regions):
    x = regions
    for conv in made.convs:
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
    x = F.relu(F.conv_transpose2d(x, made.deconv.weight, made.deconv.bias, stride=2))
    return F.conv2d(x, made.predictor.weight, made.predictor.bias)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_equals_selecting_from_all_classes_forward_and_backward(layers, memory_format):
    made = head(layers)
    regions = torch.randn(7, 6, 3, 3).contiguous(memory_format=memory_format)
    classes = torch.tensor([0, 3, 3, 1, 2, 0, 1])
    found = made(regions, classes)
    expected = all_classes(made, regions)[torch.arange(7), classes]
    assert found.shape == (7, 6, 6)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    parameters = list(made.parameters())
    ours = torch.autograd.grad((found * weights).sum(), parameters)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        # Sums of a few hundred products, in another order.
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_loss_is_the_mean_over_pixels_summed_over_regions():
    logits = torch.randn(3, 4, 4)
    targets = torch.rand(3, 4, 4) > 0.5
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    entropy = -np.where(targets, np.log(p), np.log(1 - p))
    expected = entropy.reshape(3, -1).mean(axis=1).sum()
    assert mask_loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_no_regions_give_a_zero_loss_that_reaches_every_parameter():
    """DDP waits for a gradient of each, also on a rank that saw no object."""
    made = head()
    logits = made(torch.zeros(0, 6, 3, 3), torch.zeros(0, dtype=torch.int64))
    assert logits.shape == (0, 6, 6)
    loss = mask_loss(logits, torch.zeros(0, 6, 6, dtype=torch.bool))
    assert loss == 0
    loss.backward()
    assert all((p.grad == 0).all() for p in made.parameters())
