"""Against standard deviations of outputs that hooks written down one by one have kept."""

import numpy as np
import pytest
import torch
from torch import nn

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError, DataError
from resnet_backbone.paper.responses import layer_responses

# All sums are taken in float64 of the same float32 outputs.
RTOL = 1e-9


def trained(name, **options):
    """A network whose statistics and affine parameters are those of no initialisation."""
    network = create_classifier(name, num_classes=5, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


def outputs_of(network, pairs, images):
    """What the norms of (convolution, norm) put out, as numpy arrays by convolution."""
    kept, handles = {}, []
    for conv, norm in pairs:

        def keep(_module, _inputs, output, conv=conv):
            kept[conv] = output.detach().clone().numpy()

        handles.append(network.get_submodule(norm).register_forward_hook(keep))
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return kept


def basic_pairs(stages, blocks):
    yield "conv1", "bn1"
    for stage in range(1, stages + 1):
        for block in range(blocks):
            for layer in (1, 2):
                place = f"layer{stage}.{block}"
                yield f"{place}.conv{layer}", f"{place}.bn{layer}"


@pytest.mark.parametrize("name", ["resnet20_cifar", "plain20_cifar"])
def test_every_3x3_layer_of_a_small_network(name):
    network, images = trained(name), torch.randn(6, 3, 16, 16)
    kept = outputs_of(network, basic_pairs(3, 3), images)
    # Batches of different sizes must not matter.
    found = layer_responses(network, [images[:1], images[1:4], images[4:]])
    assert [response.name for response in found] == list(kept)
    assert len(found) == 19  # all layers but the linear one
    expected = [np.std(output.astype(np.float64)) for output in kept.values()]
    # The same images in other batches: convolutions may round otherwise, float32's 1e-6.
    np.testing.assert_allclose([r.std for r in found], expected, rtol=1e-5)
    np.testing.assert_allclose(
        [r.std for r in layer_responses(network, [images])], expected, rtol=RTOL
    )


def test_of_bottlenecks_the_middle_layers_alone():
    network, images = trained("resnet50"), torch.randn(1, 3, 64, 64)
    pairs = [
        (f"layer{stage}.{block}.conv2", f"layer{stage}.{block}.bn2")
        for stage, count in enumerate((3, 4, 6, 3), 1)
        for block in range(count)
    ]
    kept = outputs_of(network, pairs, images)
    found = layer_responses(network, [images])
    assert [response.name for response in found] == list(kept)
    np.testing.assert_allclose(
        [r.std for r in found], [np.std(o.astype(np.float64)) for o in kept.values()], rtol=RTOL
    )


def test_the_network_is_left_as_it_was():
    network = trained("resnet20_cifar").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer_responses(network, [torch.randn(2, 3, 16, 16)])
    assert network.training
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_constant_far_from_zero_does_not_drown_the_deviation():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    nn.init.constant_(network[1].bias, 1e4)
    images = [torch.randn(2, 3, 8, 8) for _ in range(3)]
    with torch.no_grad():
        outputs = torch.cat([network.eval()(batch) for batch in images]).double()
    (found,) = layer_responses(network, images)
    assert found.name == "0"
    assert found.std == pytest.approx(outputs.std(unbiased=False).item(), rel=RTOL)


def test_no_images_and_no_norms():
    with pytest.raises(DataError, match="got no images"):
        layer_responses(create_classifier("resnet20_cifar"), [])
    with pytest.raises(ConfigError, match="no norm after a 3x3 convolution"):
        layer_responses(create_backbone("resnet18"), [torch.zeros(1, 3, 32, 32)])
