import torch

from resnet_backbone.utils.constants import constant

CPU = torch.device("cpu")


def test_a_constant_is_made_once_per_device_and_dtype():
    first = constant((1.0, 2.5), CPU)
    assert first.tolist() == [1.0, 2.5] and first.dtype == torch.float32
    assert constant((1.0, 2.5), CPU) is first
    assert constant((1.0, 2.5), CPU, torch.float64).dtype == torch.float64
    assert constant((1.0, 2.5), torch.device("meta")).is_meta


def test_what_inference_made_first_can_be_trained_with():
    with torch.inference_mode():
        factor = constant((3.0, 7.0), CPU)
    x = torch.ones(2, requires_grad=True)
    (x * factor).sum().backward()
    assert x.grad.tolist() == [3.0, 7.0]
