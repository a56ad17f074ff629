import pytest
from finished_runs import record
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from resnet_backbone.errors import StorageError
from resnet_backbone.paper import draw
from resnet_backbone.paper.complexity import Part
from resnet_backbone.paper.draw import draw_figures
from resnet_backbone.paper.measure import Measured
from resnet_backbone.paper.record_schema import read_records

MEASURED = Measured([("conv1", 1.0), ("layer1.0.conv1", 0.5)], [("conv1", 0.1)])


@pytest.fixture(autouse=True)
def _uncounted(monkeypatch):
    """Every network costs a billion multiply-adds: counting VGG-19's takes seconds."""
    monkeypatch.setattr(draw, "total", lambda _network: Part("total", 1, 10**9, 1))


def test_what_is_recorded_is_drawn(tmp_path):
    assert [file.name for file in draw_figures([], tmp_path)] == ["figure3.png"]
    results = tmp_path / "results"
    record(tmp_path / "a", results, "plain56_cifar", measured=MEASURED)
    record(tmp_path / "b", results, "resnet56_cifar")
    drawn = draw_figures(list(read_records(results).values()), tmp_path / "figures")
    names = ["figure3", "figure1", "figure6", "figure7", "gradients"]
    assert [file.stem for file in drawn] == names
    sizes = {}
    for file in drawn:
        with Image.open(file) as picture:
            picture.load()
            sizes[file.stem] = picture.size
    # Figure 1 has plain networks alone, figure 6 a panel for each kind.
    assert sizes["figure6"][0] == 2 * sizes["figure1"][0]


def test_only_those_named_are_drawn_and_headings_fit(tmp_path):
    shortened = {"max_iter": 3000, "solver": {"batch_size": 64, "lr": 0.05}}
    record(tmp_path / "a", tmp_path / "results", "plain56_cifar", **shortened)
    records = list(read_records(tmp_path / "results").values())
    assert [f.name for f in draw_figures(records, tmp_path, ["figure1"])] == ["figure1.png"]
    ((_, draw_it),) = ((key, drawn) for key, drawn in draw._figures(records) if key == "figure1")
    figure = draw_it()
    FigureCanvasAgg(figure).draw()
    heading = figure._suptitle.get_window_extent()
    assert "batch size 64" in figure._suptitle.get_text()
    assert heading.x0 >= 0 and heading.x1 <= figure.bbox.x1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(StorageError, match="figures: cannot be written"):
        draw_figures([], tmp_path / "figures")


def test_figures_are_drawn_again_but_not_over_those_of_others(tmp_path):
    for _ in range(2):
        assert [file.name for file in draw_figures([], tmp_path)] == ["figure3.png"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "figure3.png").write_text("mine")
    with pytest.raises(StorageError, match=r"contains figure3\.png"):
        draw_figures([], tmp_path / "other")
    assert (tmp_path / "other" / "figure3.png").read_text() == "mine"
