"""Our detectors against numbers recorded from detectron2: parity where it is not installed.

The files in tests/assets were written by record.py with detectron2 of June 2026 and torch 2.15.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity_cases import RECORDED, assert_same, condense, our_losses, our_numbers

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@pytest.fixture(scope="module", params=RECORDED, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def recorded(case):
    with np.load(ASSETS / f"detectron2_{case.name}.npz", allow_pickle=False) as file:
        return dict(file)


def test_inference_equals_the_recording(case, recorded):
    numbers = condense(our_numbers(case.model(), case.batch()))
    assert_same(numbers, {key: v for key, v in recorded.items() if not key.startswith("loss/")})


def test_losses_equal_the_recording(case, recorded):
    losses = our_losses(case.model(), case.batch())
    expected = {k.removeprefix("loss/"): v for k, v in recorded.items() if k.startswith("loss/")}
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4), name
