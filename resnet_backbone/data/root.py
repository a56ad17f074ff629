"""The folder that all paths of a dataset are relative to."""

from __future__ import annotations

from pathlib import Path

from resnet_backbone.errors import DataError


def require_root(root: str) -> None:
    """Checks that `data.root` is a folder; call it before anything takes long.

    Raises:
        DataError: it is not.
    """
    if not Path(root).is_dir():
        raise DataError(f"{Path(root).absolute()}: no such folder; check data.root")
