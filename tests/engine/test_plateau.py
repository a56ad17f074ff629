import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.engine.plateau import drops


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], [0]),
        ([0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0, 0]),
        ([0.9, 0.9, 0.9, 0.9, 0.9], [0, 0, 0, 1, 1, 2]),
        # A better one begins the count anew, also just before the drop.
        ([0.5, 0.6, 0.4, 0.4, 0.4, 0.3], [0, 0, 0, 0, 0, 1, 1]),
        # Better by no more than the threshold is not better, however often.
        ([0.500, 0.499, 0.498, 0.497], [0, 0, 0, 1, 1]),
    ],
)
def test_drops_come_where_the_rule_says(errors, expected):
    found = [drops(errors[:n], patience=2, threshold=0.005) for n in range(len(errors) + 1)]
    assert found == expected


@given(
    st.lists(st.floats(0, 1, allow_nan=False), max_size=40),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.001, 0.1]),
)
def test_drops_are_torchs(errors, patience, threshold):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=0.5,
        patience=patience - 1,
        threshold=threshold,
        threshold_mode="abs",
        eps=0,
    )
    for error in errors:
        scheduler.step(error)
    assert optimizer.param_groups[0]["lr"] == 0.5 ** drops(
        errors, patience=patience, threshold=threshold
    )
