import numpy as np
import pytest
import torch

from resnet_backbone.data.labelled.color import EIGENVALUES, EIGENVECTORS, PCAColor, shift_color

IMAGE = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)


def test_the_shift_is_the_formula():
    """Krizhevsky et al. 2012, section 4.1, on pixels in [0, 1], as the eigenvalues are of these."""
    alphas = np.array([0.3, -0.2, 1.5])
    pixels = IMAGE.numpy() / 255.0
    shift = sum(EIGENVECTORS[:, k] * alphas[k] * EIGENVALUES[k] for k in range(3))
    expected = (pixels + shift[:, None, None]).clip(0, 1) * 255
    # Rounding to whole levels.
    assert abs(shift_color(IMAGE, alphas).numpy() - expected).max() <= 0.5 + 1e-6


def test_components_are_orthogonal_and_of_length_one():
    """To the four digits that are published."""
    np.testing.assert_allclose(EIGENVECTORS.T @ EIGENVECTORS, np.eye(3), atol=2e-4)


def test_alphas_are_gaussian_and_drawn_from_the_generator():
    grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    rng = np.random.default_rng(0)
    shifts = np.stack([PCAColor(1.0)(grey, rng).flatten().numpy() - 128.0 for _ in range(4000)])
    covariance = 255**2 * EIGENVECTORS @ np.diag(EIGENVALUES**2) @ EIGENVECTORS.T
    # 4,000 draws: 2 % of each deviation, five times over.
    np.testing.assert_allclose(shifts.std(0), np.sqrt(np.diag(covariance)), rtol=0.1)
    same = [PCAColor(0.1)(IMAGE, np.random.default_rng(7)) for _ in range(2)]
    assert torch.equal(*same)


@pytest.mark.parametrize("size", [0.5, 40.0, 400.0])
def test_shifts_of_any_size_end_at_black_and_white(size):
    alphas = size * np.array([1.0, -1.0, 1.0])
    shift = 255 * EIGENVECTORS @ (alphas * EIGENVALUES)
    expected = (IMAGE.numpy() + shift[:, None, None]).clip(0, 255)
    assert abs(shift_color(IMAGE, alphas).numpy() - expected).max() <= 0.5 + 1e-6


def test_the_order_in_memory_changes_nothing():
    rows = IMAGE.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    alphas = np.array([0.3, -0.2, 1.5])
    assert torch.equal(shift_color(rows, alphas), shift_color(IMAGE, alphas))
