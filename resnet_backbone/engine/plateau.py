"""Learning rate drops on a plateau of the error, the paper's only rule for the learning rate."""

from __future__ import annotations

from collections.abc import Sequence


def drops(errors: Sequence[float], *, patience: int, threshold: float) -> int:
    """Returns how often the learning rate has been dropped after these validation errors.

    He et al. 2016, section 3.4: "divided by 10 when the error plateaus". An error is an improvement
    if it is below the best one so far by more than `threshold`. After `patience` evaluations in a
    row without improvement the learning rate drops, and the count starts again. This equals
    torch.optim.lr_scheduler.ReduceLROnPlateau with threshold_mode "abs", no cooldown, and a
    patience smaller by one. As a function of the history it has no state to save.

    Args:
        errors: Validation errors of all evaluations so far, in order.
        patience: Number of evaluations, at least 1.
        threshold: In the unit of the errors, not negative.
    """
    count, waited, best = 0, 0, float("inf")
    for error in errors:
        if error < best - threshold:
            best, waited = error, 0
        else:
            waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return count
