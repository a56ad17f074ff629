import pytest
import torch
from torch.nn import functional as F

from resnet_backbone.classification.losses import (
    binary_cross_entropy,
    cross_entropy,
    soft_targets,
)

SCORES = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def test_targets_of_labels_are_smoothed_rows():
    rows = soft_targets(SCORES, LABELS, 0.1)
    torch.testing.assert_close(rows.sum(1), torch.ones(6))
    torch.testing.assert_close(rows[0], torch.tensor([0.92, 0.02, 0.02, 0.02, 0.02]))
    assert torch.equal(soft_targets(SCORES, LABELS, 0.0), F.one_hot(LABELS, 5).float())
    mixed = torch.rand(6, 5)
    assert soft_targets(SCORES, mixed, 0.1) is mixed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_scores_in_half_precision_keep_targets_and_loss_in_float32(loss, dtype):
    scores = torch.randn(4, 1000).to(dtype)
    labels = torch.tensor([0, 7, 999, 7])
    rows = soft_targets(scores, labels, 0.1)
    assert rows.dtype == torch.float32
    # 1000 additions of 1e-4, each rounded to float32's 6e-8 of a sum of at most 1.
    torch.testing.assert_close(rows.double().sum(1), torch.ones(4).double(), rtol=0, atol=1e-6)
    found = loss(scores, labels, label_smoothing=0.1)
    assert torch.equal(found, loss(scores.float(), labels, label_smoothing=0.1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_and_timms(smoothing):
    loss = pytest.importorskip("timm.loss")
    found = cross_entropy(SCORES, LABELS, label_smoothing=smoothing)
    expected = F.cross_entropy(SCORES, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)
    timms = loss.LabelSmoothingCrossEntropy(smoothing)(SCORES, LABELS)
    torch.testing.assert_close(found, timms)
    mixed = torch.rand(6, 5).softmax(1)
    torch.testing.assert_close(
        cross_entropy(SCORES, mixed), loss.SoftTargetCrossEntropy()(SCORES, mixed)
    )


def test_binary_cross_entropy_is_timms():
    loss = pytest.importorskip("timm.loss")
    mixed = torch.rand(6, 5).softmax(1)
    timms = loss.BinaryCrossEntropy(smoothing=0.0)
    torch.testing.assert_close(binary_cross_entropy(SCORES, mixed), timms(SCORES, mixed))
    torch.testing.assert_close(binary_cross_entropy(SCORES, LABELS), timms(SCORES, LABELS))


def test_binary_cross_entropy_is_the_closed_form():
    p = SCORES.double().sigmoid()
    rows = F.one_hot(LABELS, 5).double()
    expected = -(rows * p.log() + (1 - rows) * (1 - p).log()).mean()
    torch.testing.assert_close(binary_cross_entropy(SCORES.double(), LABELS), expected)
