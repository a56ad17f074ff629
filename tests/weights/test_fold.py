"""Folded inputs against the same pixels, normalised as before."""

import pytest
import torch

from resnet_backbone.create import create_backbone
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.fold import fold_input
from resnet_backbone.weights.presets import IMAGENET, MSRA


def features(name, state, pixels, card):
    """C2 to C5 of RGB pixels, normalised as `card` says."""
    net = create_backbone(name, norm="BN").eval().double()
    net.load_state_dict(state)
    if card.channel_order == "BGR":
        pixels = pixels.flip(1)
    mean, std = (torch.tensor(t, dtype=torch.float64)[:, None, None] for t in (card.mean, card.std))
    with torch.no_grad():
        return net((pixels - mean) / std)


def trained_state(name):
    net = create_backbone(name, norm="BN").double()
    for key, tensor in net.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 5)
        elif key.endswith("running_var"):
            tensor.uniform_(50, 150)
    return net.state_dict()


PIXELS = torch.randint(0, 256, (1, 3, 96, 96)).double()


@pytest.mark.parametrize("name", ["resnet18", "resnet18d"])
def test_msra_pixels_fold_into_torchvisions_exactly(name):
    """Their means are the same colour, so that even the zeros of the padding mean the same."""
    state = trained_state(name)
    std = IMAGENET["std"]
    folded, card = fold_input(state, MSRA, channel_order="RGB", std=std)
    assert (card.channel_order, card.std, card.mean) == ("RGB", std, IMAGENET["mean"])
    expected = features(name, state, PIXELS, MSRA)
    found = features(name, folded, PIXELS, card)
    for key, feature in expected.items():
        assert (found[key] - feature).abs().max() < 1e-9 * feature.abs().max()


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_another_mean_is_exact_away_from_the_border(order):
    state = trained_state("resnet18")
    card = WeightsCard(channel_order="BGR", mean=(100, 120, 140), std=(50, 60, 70))
    folded, new = fold_input(state, card, channel_order=order, mean=(0, 0, 0), std=(255, 255, 255))

    def stem(tensors, card):
        pixels = PIXELS if card.channel_order == "RGB" else PIXELS.flip(1)
        mean, std = (torch.tensor(t).double()[:, None, None] for t in (card.mean, card.std))
        x = torch.nn.functional.conv2d((pixels - mean) / std, tensors["conv1.weight"], stride=2)
        return x - tensors["bn1.running_mean"][:, None, None]

    torch.testing.assert_close(stem(folded, new), stem(state, card))


def test_untouched_tensors_stay_and_the_originals_are_not_changed():
    state = trained_state("resnet18")
    before = {key: tensor.clone() for key, tensor in state.items()}
    folded, _ = fold_input(state, MSRA)
    assert all(torch.equal(tensor, before[key]) for key, tensor in state.items())
    assert {k for k in state if not torch.equal(folded[k], state[k])} == {"conv1.weight"}


def test_what_cannot_be_folded():
    state = trained_state("resnet18")
    with pytest.raises(WeightsError, match=r"the card lacks \('stride_in_1x1', 'channel_order'"):
        fold_input(state, WeightsCard(std=(1, 1, 1)))
    with pytest.raises(WeightsError, match="no first convolution"):
        fold_input({"layer1.0.conv1.weight": torch.ones(1)}, MSRA)
    del state["bn1.running_mean"]
    with pytest.raises(WeightsError, match="no batch normalisation follows conv1"):
        fold_input(state, MSRA, mean=(0, 0, 0))
