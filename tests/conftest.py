"""Fixtures shared by all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: the processes are the parallelism.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_server import Server

# Beside the checkout, where real images are kept; they are never part of the project.
DEFAULT_COCO_MINI = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_mini"


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """A folder with 80 + 79 real COCO 2017 images and their annotations."""
    root = Path(os.environ.get("RESNET_BACKBONE_COCO_MINI", DEFAULT_COCO_MINI))
    if not (root / "annotations" / "instances_val2017.json").is_file():
        pytest.skip(f"real COCO images not found at {root}; set RESNET_BACKBONE_COCO_MINI")
    return root


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Starts runs, kills them, and tells how they ended."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()
