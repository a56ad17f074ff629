import json

import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from resnet_backbone.report.curves import axis_limits, draw_curves, read_curves, running_mean


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


FULL = [
    {"step": 20, "loss": 3.0, "loss_cls": 2.0, "loss_mask": 1.0, "lr": 0.001},
    {"step": 40, "loss": 2.0, "loss_cls": 1.2, "loss_mask": 0.8, "lr": 0.002, "eta_s": 5},
    {"step": 40, "bbox/AP": 0.1, "bbox/AP50": 0.2, "segm/AP": None, "val_loss": 2.5},
]


@pytest.mark.parametrize(
    "records",
    [[], FULL[:1], FULL, FULL[2:], [{"step": i, "loss": 1 / i} for i in range(1, 400)]],
    ids=["empty", "one line", "all", "evaluation alone", "long"],
)
def test_a_picture_whatever_there_is(tmp_path, records):
    draw_curves(write(tmp_path / "metrics.jsonl", records), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_axes_fit_the_values():
    assert axis_limits({"a": ([1], [0.2]), "b": ([1, 2], [0.1, 0.3])}, at_most_1=True) == (
        0,
        pytest.approx(0.33),
    )
    assert axis_limits({"a": ([1], [0.99])}, at_most_1=True) == (0, 1.02)
    assert axis_limits({"a": ([1], [2.0])}, at_most_1=False) == (0, pytest.approx(2.2))
    assert axis_limits({"a": ([1], [0.0])}, at_most_1=True) == (0, 1)


def test_lines_that_coincide_are_both_seen(tmp_path):
    records = [{"step": s, "loss": 1.0, "loss_cls": 1.0} for s in range(1, 40)]
    draw_curves(write(tmp_path / "metrics.jsonl", records), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 24)}
    for name in ("C0", "C1"):
        assert tuple(round(255 * part) for part in to_rgb(name)) in colors


def test_more_panels_make_a_larger_picture(tmp_path):
    sizes = []
    for records in (FULL[:1], FULL):
        draw_curves(write(tmp_path / "metrics.jsonl", records), tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as picture:
            sizes.append(picture.size)
    # Losses and learning rate are one row; with evaluation there are two.
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] == 2 * sizes[0][1]


def test_of_a_step_written_twice_the_last_counts(tmp_path):
    records = [{"step": 1, "loss": 5}, {"step": 2, "loss": 4}, {"step": 1, "loss": 3}]
    curves = read_curves(write(tmp_path / "metrics.jsonl", records))
    assert curves == {"loss": ([1, 2], [3, 4])}


def test_torn_lines_and_values_that_are_not_numbers_are_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "loss": 5, "bbox/AP": null, "note": "x"}\n[1]\n{"loss": 1}\n'
        '{"step": 2, "loss": NaN}\n{"step": 3, "lo'
    )
    assert read_curves(path) == {"loss": ([1], [5])}


def test_running_mean_is_centred():
    assert running_mean([0, 0, 3, 0, 0], 3) == [0, 1, 1, 1, 0]
    assert running_mean([1, 5], 1) == [1, 5]
    assert running_mean([], 4) == []
