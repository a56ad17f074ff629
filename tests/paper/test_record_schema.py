"""Records as they are read: closed, checked, and refused with file and key."""

import json

import pytest
from finished_runs import record as record_of
from finished_runs import write_json, write_run
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from resnet_backbone.errors import StorageError
from resnet_backbone.paper.record import record_run
from resnet_backbone.paper.record_schema import (
    Curve,
    Layer,
    Machine,
    Record,
    defects,
    read_checked,
    read_record,
    read_records,
)
from resnet_backbone.paper.record_schema import Test as OneTest


@pytest.fixture
def made(tmp_path):
    return read_record(record_of(tmp_path / "run", tmp_path / "results"))


def test_a_record_survives_json(made):
    assert Record.model_validate_json(made.model_dump_json()) == made
    assert made.format == 1


def test_it_is_frozen_and_closed(made):
    with pytest.raises(ValidationError, match="frozen"):
        made.seed = 3
    for part in (made, made.data, made.training, made.test, made.machine, made.best):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            type(part).model_validate(part.model_dump() | {"more": 1})


def test_errors_of_a_way_of_testing(made):
    crops = OneTest(top1_error=0.25)
    found = made.model_copy(update={"more_tests": {"ten_crop": crops}})
    assert found.tested("single") == made.test
    assert found.tested("ten_crop") == crops
    assert found.tested("multi_scale") is None
    # What the run itself says of one crop is not overruled.
    assert made.model_copy(update={"more_tests": {"single": crops}}).tested("single") == made.test


FRACTIONS = st.floats(0, 1)


@given(st.lists(st.integers(0, 10**6), max_size=5), st.lists(FRACTIONS, max_size=5))
def test_a_curve_has_as_many_steps_as_values(steps, values):
    if len(steps) == len(values):
        curve = Curve(steps=tuple(steps), values=tuple(values))
        assert Curve.model_validate_json(curve.model_dump_json()) == curve
    else:
        with pytest.raises(ValidationError, match=f"{len(steps)} steps, but {len(values)} values"):
            Curve(steps=tuple(steps), values=tuple(values))


@pytest.mark.parametrize("value", [-0.01, 1.01, 91, float("nan")])
def test_errors_are_fractions(value):
    with pytest.raises(ValidationError, match="top1_error"):
        OneTest(top1_error=value)
    with pytest.raises(ValidationError, match=r"values\.0"):
        Curve(steps=(1,), values=(value,))


def test_measured_sizes_are_finite_and_not_negative():
    assert Layer(name="conv1", value=0).value == 0
    for value in (-1, float("inf"), float("nan")):
        with pytest.raises(ValidationError, match="value"):
            Layer(name="conv1", value=value)


def test_a_machine_has_a_rank_at_least_and_a_known_device():
    with pytest.raises(ValidationError, match="ranks"):
        Machine(device="cpu", gpu=None, ranks=0, torch="2.11.0")
    with pytest.raises(ValidationError, match="device"):
        Machine(device="tpu", gpu=None, ranks=1, torch="2.11.0")


@pytest.mark.parametrize("date", ["2026-1-2", "02.01.2026", "2026-01-02T00:00", ""])
def test_dates_are_written_as_iso_does(made, date):
    with pytest.raises(ValidationError, match="date"):
        Record.model_validate(made.model_dump() | {"date": date})


# --- reading ---


def test_any_file_is_read_or_refused_by_name(tmp_path):
    for content in (b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"format": 1}'):
        (tmp_path / "r.json").write_bytes(content)
        with pytest.raises(StorageError, match=r"r\.json: "):
            read_record(tmp_path / "r.json")
    with pytest.raises(StorageError, match=r"absent\.json: cannot be read: No such file"):
        read_checked(OneTest, tmp_path / "absent.json")
    with pytest.raises(StorageError, match="cannot be read: not a regular file"):
        read_checked(OneTest, tmp_path)


def test_three_defects_are_spelled_out_and_the_others_counted():
    with pytest.raises(ValidationError) as caught:
        Record.model_validate({"seed": -1})
    text = defects(caught.value)
    count = caught.value.error_count()
    assert text.startswith("experiment: Field required; network: Field required; data: Field req")
    assert text.endswith(f" (and {count - 3} more)") and "\n" not in text
    with pytest.raises(ValidationError) as caught:
        OneTest(top1_error=2)
    assert defects(caught.value) == "top1_error: Input should be less than or equal to 1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": 0.1}, "top1: Extra inputs are not permitted"),
        ({"seed": "0"}, None),  # a number in quotes is one
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"test": {"top1_error": float("nan")}}, "test.top1_error"),
        ({"format": 2}, "format: Input should be 1"),
        ({"training_error": {"steps": [1], "values": []}}, "1 steps, but 0 values"),
    ],
)
def test_what_a_record_may_not_say(tmp_path, change, message):
    file = record_run(write_run(tmp_path / "run"), tmp_path)
    write_json(file, json.loads(file.read_text()) | change)
    if message is None:
        read_record(file)
        return
    with pytest.raises(StorageError) as caught:
        read_record(file)
    assert str(file) in str(caught.value) and message in str(caught.value)


def test_reading_a_folder(tmp_path):
    assert read_records(tmp_path / "missing") == {}
    for name in ("b", "a"):
        record_run(write_run(tmp_path / "runs" / name), tmp_path / "results")
    assert list(read_records(tmp_path / "results")) == ["a", "b"]
    (tmp_path / "results" / "c.json").write_text("{")
    with pytest.raises(StorageError, match=r"c\.json: the file: Invalid JSON"):
        read_records(tmp_path / "results")
