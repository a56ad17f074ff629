"""Reads JSON files that other tools have written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from resnet_backbone.errors import DataError
from resnet_backbone.utils.text import listing

# How files begin that are taken for JSON, and what they are.
OTHERS = {
    b"\x1f\x8b": "compressed with gzip (unpack it with gunzip)",
    b"PK\x03\x04": "a zip archive (unpack it)",
    b"BZh": "compressed with bzip2 (unpack it)",
    b"\xfd7zXZ": "compressed with xz (unpack it)",
    b"\x28\xb5\x2f\xfd": "compressed with zstd (unpack it)",
    b"<": "a page in HTML, or XML",
    b"version https://git-lfs": "a pointer of Git LFS to the file (git lfs pull fetches it)",
}


def check_exists(file: Path) -> None:
    """Raises DataError if there is no such annotation file."""
    if not os.path.exists(file):
        raise DataError(f"{file}: no such annotation file; check data.root{_others_beside(file)}")


def read_json(file: Path) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Returns the content of a JSON file in UTF-8, -16 or -32, with or without a byte order mark.

    Raises:
        DataError: the file is missing, unreadable, or not JSON.
    """
    check_exists(file)
    try:
        content = file.read_bytes()
        for start, what in OTHERS.items():
            if content[:64].lstrip().startswith(start):
                raise DataError(f"{file}: {what}, expected JSON")
        return json.loads(content)  # detects the encoding
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise DataError(f"{file}: nested too deeply for COCO annotations") from None
    except ValueError as error:  # not JSON, or not text
        raise DataError(f"{file}: not valid JSON, or truncated: {error}") from None


def _others_beside(file: Path) -> str:
    """Returns the end of a sentence: which annotation files there are in its folder."""
    try:
        names = sorted(path.name for path in file.parent.iterdir() if ".json" in path.name)
    except OSError:
        return ""
    return f"; {file.parent} has {listing(names)}" if names else ""
