"""Folders of data that come with the package."""

from __future__ import annotations

from pathlib import Path


def shipped_folder(name: str) -> Path:
    """Returns the folder "configs" or "results": a wheel has it inside, a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
