"""When an error has come to a standstill: the paper's only rule for the learning rate."""

from __future__ import annotations

from collections.abc import Sequence


def drops(errors: Sequence[float], *, patience: int, threshold: float) -> int:
    """Returns how often the rate has been divided after this history of validation errors.

    He et al. 2016, section 3.4: "divided by 10 when the error plateaus". An error counts as better
    if it is below the best one so far by more than `threshold`; after `patience` evaluations in a
    row without a better one the rate drops, and the count begins anew. This is
    torch.optim.lr_scheduler.ReduceLROnPlateau with threshold_mode "abs", no cooldown and a patience
    of one less, as a function of the history: there is no state that a resumed run could lack.

    Args:
        errors: Of all evaluations so far, in order.
        patience: At least 1.
        threshold: In the errors' unit; not negative.
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
