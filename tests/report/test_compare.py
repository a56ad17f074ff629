"""Several runs in one picture: what is drawn, and what is missing."""

import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.report.compare import draw_runs


@pytest.fixture
def run(tmp_path):
    def write(name, lines):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return folder

    return write


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, with their curves."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_every_run_is_a_curve_of_its_numbers_under_its_name(run, drawn, tmp_path):
    few = run("few", [{"step": 10 * n, "bbox/AP": n / 10, "loss": 1.0} for n in range(1, 4)])
    many = run("many", [{"step": n, "bbox/AP": n / 100} for n in range(50)])
    draw_runs({"first": few, "second": many}, "bbox/AP", tmp_path / "out.png")
    (axes,) = drawn[0].axes
    one, two = axes.lines
    assert one.get_xdata().tolist() == [10, 20, 30]
    assert one.get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert len(two.get_xdata()) == 50
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["first", "second"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "bbox/AP")
    assert axes.get_ylim()[0] == 0 and axes.get_xlim()[0] == 0
    # Few points have dots, of which a line alone would show little.
    assert one.get_marker() == "o" and two.get_marker() == ""


def test_the_picture_is_a_png_of_a_pages_width(run, tmp_path):
    folder = run("one", [{"step": 1, "loss": 2.0}])
    draw_runs({"one": folder}, "loss", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.format == "PNG" and picture.size == (792, 484)


def test_a_metric_that_a_run_has_not_is_named_with_those_it_has(run, tmp_path):
    good = run("good", [{"step": 1, "loss": 2.0}])
    bad = run("bad", [{"step": 1, "lr": 0.1, "error": 0.5}])
    with pytest.raises(
        ConfigError, match=r"bad.metrics\.jsonl: no metric 'loss'; found error, lr$"
    ):
        draw_runs({"good": good, "bad": bad}, "loss", tmp_path / "out.png")
    with pytest.raises(ConfigError, match=r"no metric 'train/loss'; did you mean loss\?$"):
        draw_runs({"good": good}, "train/loss", tmp_path / "out.png")
    with pytest.raises(ConfigError, match="no metric 'loss'; found nothing"):
        draw_runs({"empty": run("empty", [])}, "loss", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_files_that_cannot_be_read_or_written(run, tmp_path):
    folder = run("one", [{"step": 1, "loss": 2.0}])
    with pytest.raises(StorageError, match=r"absent.metrics\.jsonl: cannot be read: No such file"):
        draw_runs({"absent": tmp_path / "absent"}, "loss", tmp_path / "out.png")
    with pytest.raises(StorageError, match=r"out\.png: cannot be written: No such file"):
        draw_runs({"one": folder}, "loss", tmp_path / "no" / "out.png")
    (folder / "metrics.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be read"):
        draw_runs({"one": folder}, "loss", tmp_path / "out.png")


def test_a_suffix_that_matplotlib_does_not_know(run, tmp_path):
    folder = run("one", [{"step": 1, "loss": 2.0}])
    with pytest.raises(ConfigError, match=r"out\.xyz: Format 'xyz' is not supported"):
        draw_runs({"one": folder}, "loss", tmp_path / "out.xyz")
