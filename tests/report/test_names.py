import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnet_backbone.report.names import short, show_names


def test_dollars_and_letters_of_other_scripts_are_drawn_as_they_are():
    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    texts = [figure.text(0, 0.1, "$unclosed_{"), figure.text(0, 0.5, "Ж Ω $")]
    show_names(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of letters that a font lacks
        canvas.draw()


def test_long_names_are_cut():
    assert short("a" * 24) == "a" * 24
    assert short("a" * 25) == "a" * 21 + "..."
