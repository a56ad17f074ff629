import math

from resnet_backbone.report.tables import (
    align,
    beside,
    errors_table,
    format_number,
    metrics_table,
    per_class_table,
)


def test_columns_line_up_and_undefined_reads_na():
    text = metrics_table({"bbox": {"AP": 0.5, "APs": math.nan}, "segm": {"AP": 0.25, "APs": None}})
    assert text.split("\n") == [
        "         AP  APs",
        "bbox  0.500  n/a",
        "segm  0.250  n/a",
    ]


def test_tasks_with_different_metrics_share_columns():
    text = metrics_table({"bbox": {"AP": 0.5}, "segm": {"AR1": 0.125}})
    assert text.split("\n")[1:] == ["bbox  0.500    n/a", "segm    n/a  0.125"]


def test_many_classes_continue_beside():
    names = [f"class {i}" for i in range(70)]
    text = per_class_table({"bbox": dict.fromkeys(names, 0.1), "segm": dict.fromkeys(names)})
    lines = text.split("\n")
    assert len(lines) == 31
    assert lines[0].split() == ["class", "bbox", "segm"] * 3
    assert all(name in text for name in names)
    assert all(line == line.rstrip() for line in lines)


def test_errors_with_their_count_and_cost():
    kinds = {"localisation": {"count": 12, "AP50": 0.125}, "missed": {"count": 3, "AP50": None}}
    assert errors_table({"bbox": kinds}).split("\n") == [
        "                      localisation  missed",
        "bbox: errors                    12       3",
        "bbox: AP50 they cost         0.125     n/a",
    ]


def test_numbers():
    assert format_number(0.12345) == "0.123"
    assert format_number(None) == format_number(math.nan) == "n/a"


def test_blocks_of_different_height():
    assert beside(["a\nbb", "c"]) == "a     c\nbb"
    assert beside([]) == ""
    assert align([["x", "1"], ["yy", "22"]]) == "x    1\nyy  22"
