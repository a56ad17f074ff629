"""The notebooks run from the first cell to the last; with so few steps, nothing is learned."""

import importlib.util
import os
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))


def test_all_are_there():
    assert NOTEBOOKS == [
        "detectron2_project",
        "fine_tune",
        "paper_claims",
        "pretrain_then_detect",
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_runs(name, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    if name == "detectron2_project" and importlib.util.find_spec("detectron2") is None:
        pytest.skip("detectron2 cannot be imported")
    monkeypatch.setenv("EXAMPLE_STEPS", "3")
    # The kernel starts in another folder than this process.
    paths = [str(EXAMPLES.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(os.path.abspath, filter(None, paths))))
    book = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(book, timeout=300, resources=resources)
    client.execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_outputs_are_of_one_run_from_the_top(name):
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = nbformat.writes(book)
    assert "/tmp/" not in text and "/home/" not in text and "Traceback" not in text
