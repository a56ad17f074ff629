"""Reads JSON files that other tools have written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from resnet_backbone.errors import DataError


def check_exists(file: Path) -> None:
    """Raises DataError if there is no such annotation file."""
    if not os.path.exists(file):
        raise DataError(f"{file}: no such annotation file; check data.root")


def read_json(file: Path) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """Returns the content of a JSON file in UTF-8, -16 or -32, with or without a byte order mark.

    Raises:
        DataError: the file is missing, unreadable, or not JSON.
    """
    check_exists(file)
    try:
        return json.loads(file.read_bytes())  # detects the encoding
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise DataError(f"{file}: nested too deeply for COCO annotations") from None
    except ValueError as error:  # not JSON, or not text
        raise DataError(f"{file}: not valid JSON, or truncated: {error}") from None
