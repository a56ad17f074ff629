"""Our detectors against numbers recorded from detectron2: parity where it is not installed.

The files in tests/assets were written by record.py with detectron2 of June 2026 and torch 2.15.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity_cases import RECORDED, assert_same, condense, fingerprint, our_losses, our_numbers

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@pytest.fixture(scope="module", params=RECORDED, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def recorded(case):
    with np.load(ASSETS / f"detectron2_{case.name}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model(case):
    return case.model()


def test_inference_equals_the_recording(case, model, recorded):
    # Should this fail, numpy draws other weights than when record.py ran: run it again.
    np.testing.assert_allclose(fingerprint(model), recorded["weights"], rtol=1e-6)
    numbers = condense(our_numbers(model, case.batch(model)))
    others = ("loss/", "weights")
    assert_same(numbers, {k: v for k, v in recorded.items() if not k.startswith(others)})


def test_losses_equal_the_recording(case, model, recorded):
    losses = our_losses(model, case.batch(model))
    expected = {k.removeprefix("loss/"): v for k, v in recorded.items() if k.startswith("loss/")}
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4), name
