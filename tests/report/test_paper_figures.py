"""What is drawn, read back from the figures, and that PNG files come out."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from resnet_backbone.report.paper_figures import (
    ErrorCurve,
    LayerCurve,
    complexity_figure,
    error_figure,
    gradient_figure,
    response_figure,
    save,
)


def curve(depth, final=0.1):
    training = ([0, 32_000, 64_000], [0.9, 0.3, final - 0.04])
    return ErrorCurve(f"net-{depth}", depth, training, ([32_000, 64_000], [0.4, final]))


def lines(axes):
    return [
        (line.get_linestyle(), line.get_linewidth(), to_hex(line.get_color()))
        for line in axes.get_lines()
    ]


def test_training_is_thin_and_dashed_and_test_bold():
    figure = error_figure({"plain": [curve(20), curve(56)], "residual": [curve(56)]})
    plain, residual = figure.axes
    training, test, *deeper = lines(plain)
    assert training[0] == "--" and test[0] == "-" and training[1] < test[1] / 2
    assert training[2] == test[2] != deeper[0][2]
    # Equal depths have equal colours in both panels, and the panels equal axes.
    assert lines(residual) == deeper
    assert plain.get_ylim() == residual.get_ylim()
    assert [text.get_text() for text in plain.get_legend().get_texts()] == ["net-20", "net-56"]


def test_errors_are_percentages_over_tens_of_thousands_of_steps():
    (axes,) = error_figure({"plain": [curve(20)], "residual": []}).axes
    x, y = axes.get_lines()[0].get_data()
    np.testing.assert_allclose(x, [0, 3.2, 6.4])
    np.testing.assert_allclose(y, [90, 30, 6])
    assert axes.get_ylim() == (0, 20)  # 1.8 times the final 10 %, up to a multiple of 5
    assert axes.get_ylabel() == "error (%)"


@pytest.mark.parametrize("final", [0.0, 0.9, 1.0])
def test_axes_whatever_the_error(final):
    (axes,) = error_figure({"plain": [curve(20, final)]}).axes
    assert 0 < axes.get_ylim()[1] <= 100


def test_responses_in_order_and_sorted():
    curves = [
        LayerCurve("plain-20", 20, True, [0.5, 2.0, 1.0]),
        LayerCurve("ResNet-20", 20, False, [0.3, 0.2, 0.4]),
    ]
    above, below = response_figure(curves).axes
    (plain, residual) = above.get_lines()
    assert plain.get_linestyle() == ":" and residual.get_linestyle() == "-"
    assert to_hex(plain.get_color()) == to_hex(residual.get_color())
    np.testing.assert_array_equal(plain.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(plain.get_ydata(), [0.5, 2.0, 1.0])
    sorted_lines = [list(line.get_ydata()) for line in below.get_lines()]
    assert sorted_lines == [[2.0, 1.0, 0.5], [0.4, 0.3, 0.2]]


def test_gradients_on_a_logarithmic_axis():
    (axes,) = gradient_figure([LayerCurve("plain-56", 56, True, [1e-3, 1.0])]).axes
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [1e-3, 1.0])


def test_bars_of_multiply_adds():
    (axes,) = complexity_figure({"VGG-19": (19.63e9, 19.6e9), "plain-34": (3.64e9, 3.6e9)}).axes
    assert [bar.get_width() for bar in axes.patches] == [19.63, 3.64]
    assert list(axes.get_lines()[0].get_xdata()) == [19.6, 3.6]
    assert axes.yaxis_inverted()  # the first one is on top


@pytest.mark.parametrize(
    "figure",
    [
        error_figure({"plain": [curve(20)], "residual": [curve(20)]}),
        error_figure({"plain": [], "residual": []}),
        error_figure({"plain": [ErrorCurve("empty", 20, ([], []), ([], []))]}),
        response_figure([]),
        gradient_figure([LayerCurve("one", 1, True, [1.0])]),
        complexity_figure({"net": (1e9, 1e9)}),
    ],
    ids=["errors", "no panels", "no points", "no responses", "gradients", "bars"],
)
def test_a_picture_comes_out(figure, tmp_path):
    save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 300
