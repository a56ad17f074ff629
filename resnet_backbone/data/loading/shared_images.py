"""Images that two splits have in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from resnet_backbone.utils.text import count_of

logger = logging.getLogger(__name__)


def warn_of_shared_images(train: Sequence[str], val: Sequence[str], where: str) -> None:
    """Warns where images are both trained and validated on.

    Args:
        train: The path of each training image.
        val: The path of each validation image.
        where: The validation split's name in the log.
    """
    shared = len(set(train).intersection(val))
    if shared:
        logger.warning(
            "%s: %d of %s are also trained on, and so the scores do not say how well new images "
            "are recognised",
            *(where, shared, count_of(len(val), "validation image")),
        )
