"""What must be the same on all ranks of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from resnet_backbone.errors import DataError
from resnet_backbone.utils import distributed
from resnet_backbone.utils.trees import leaves

LONGEST = 100  # characters of a value in the message


def check_same_data_on_ranks(identity: Mapping[str, Any]) -> None:
    """Checks that all ranks read the same data; a collective call.

    Machines may have copies of their own, of which one may be old or incomplete. Ranks would take
    different images for the same number, and train on some of them twice and on others never.

    Args:
        identity: What `Task.identity` returns on this rank.

    Raises:
        DataError: they are different; every rank raises it, and names all differences.
    """
    own = dict(leaves(json.loads(json.dumps(identity))))
    first, *others = distributed.all_gather_object(own)
    lines = [
        f"\n  {key}: {_short(first.get(key))} on rank 0, {_short(other.get(key))} on rank {rank}"
        for rank, other in enumerate(others, start=1)
        for key in sorted(first.keys() | other.keys())
        if first.get(key) != other.get(key)
    ]
    if lines:
        raise DataError(
            f"the ranks have different data:{''.join(lines)}\n"
            "give every machine the same files, and start again"
        )


def _short(value: object) -> str:
    """Returns the value as text, without most of a thousand class names."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
