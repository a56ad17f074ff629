"""The pyramid, with weights under which its sums can be written down."""

import numpy as np
import torch

from resnet_backbone.detection.fpn import FPN

SHAPES = {"res2": (16, 24), "res3": (8, 12), "res4": (4, 6), "res5": (2, 3)}


def features(channels):
    return {
        stage: torch.randn(2, width, *SHAPES[stage])
        for stage, width in zip(SHAPES, channels, strict=True)
    }


def test_every_level_has_the_width_asked_for_and_p6_halves_p5():
    pyramid = FPN({"res2": 3, "res3": 5, "res4": 7, "res5": 9}, 11)(features((3, 5, 7, 9)))
    assert [tuple(level.shape) for level in pyramid] == [
        (2, 11, 16, 24),
        (2, 11, 8, 12),
        (2, 11, 4, 6),
        (2, 11, 2, 3),
        (2, 11, 1, 2),
    ]
    assert torch.equal(pyramid[4], pyramid[3][:, :, ::2, ::2])


def test_coarser_levels_are_doubled_and_added():
    """With convolutions that copy, a level is its stage plus all coarser stages, repeated."""
    fpn = FPN(dict.fromkeys(SHAPES, 4), 4)
    for lateral, output in zip(fpn.lateral.values(), fpn.output.values(), strict=True):
        torch.nn.init.dirac_(lateral.weight)
        torch.nn.init.dirac_(output.weight)
    stages = features((4, 4, 4, 4))
    expected = None
    for stage, level in zip(reversed(SHAPES), reversed(fpn(stages)[:4]), strict=True):
        own = stages[stage].numpy()
        expected = own if expected is None else own + np.kron(expected, np.ones((2, 2)))
        # At most three float32 additions of numbers around 1.
        np.testing.assert_allclose(level.detach(), expected, atol=2e-6)


def test_outputs_are_smoothed_after_the_sum_not_before():
    fpn = FPN({"res4": 2, "res5": 2}, 3)
    stages = {"res4": torch.randn(1, 2, 4, 4), "res5": torch.randn(1, 2, 2, 2)}
    top = fpn.lateral["res5"](stages["res5"])
    below = fpn.lateral["res4"](stages["res4"]) + top.repeat_interleave(2, 2).repeat_interleave(
        2, 3
    )
    p4, p5, _ = fpn(stages)
    torch.testing.assert_close(p4, fpn.output["res4"](below))
    torch.testing.assert_close(p5, fpn.output["res5"](top))
