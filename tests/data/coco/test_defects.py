"""Defects, all told at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.data.coco.defects import SHOWN, Defect, DefectReport
from resnet_backbone.errors import DataError

FILE = Path("instances.json")
KINDS = st.sampled_from(["negative box", "bad area", "unknown image"])
DEFECTS = st.lists(st.builds(Defect, KINDS, st.just("annotation 3"), st.just("got -1")))


def test_a_defect_reads_place_kind_detail():
    assert str(Defect("bad area", "annotation 17", "got -1")) == "annotation 17: bad area: got -1"


def test_without_defects_nothing_happens():
    report = DefectReport(FILE)
    report.raise_if_fatal()
    assert report.lines() == []


def test_what_was_left_out_is_no_error_but_one_line():
    report = DefectReport(FILE, dropped=[Defect("short polygon", "annotation 1", "of 4 numbers")])
    report.raise_if_fatal()
    report.notes.append("ids were floats")
    assert report.lines() == [
        "instances.json: left out or clipped 1 x short polygon",
        "instances.json: ids were floats",
    ]


@given(DEFECTS.filter(bool))
def test_every_fatal_defect_is_counted_and_the_first_are_spelled_out(defects):
    with pytest.raises(DataError) as caught:
        DefectReport(FILE, fatal=defects).raise_if_fatal()
    first, *rest = str(caught.value).split("\n")
    noun = "defect" if len(defects) == 1 else "defects"
    assert first.startswith(f"instances.json: {len(defects)} {noun} (")
    for kind in {defect.kind for defect in defects}:
        assert f"{sum(defect.kind == kind for defect in defects)} x {kind}" in first
    assert rest[:SHOWN] == [f"  {defect}" for defect in defects[:SHOWN]]
    more = [f"  ... and {len(defects) - SHOWN} more"] if len(defects) > SHOWN else []
    assert rest[SHOWN:] == more


def test_the_most_frequent_kind_comes_first():
    kinds = ("bad area", "negative box", "negative box")
    with pytest.raises(DataError, match=r"3 defects \(2 x negative box, 1 x bad area\)"):
        fatal = [Defect(kind, "annotation 1", "got -1") for kind in kinds]
        DefectReport(FILE, fatal=fatal).raise_if_fatal()


def test_more_than_are_shown():
    defects = [Defect("bad area", f"annotation {number}", "got -1") for number in range(SHOWN + 7)]
    with pytest.raises(DataError) as caught:
        DefectReport(FILE, fatal=defects).raise_if_fatal()
    lines = str(caught.value).split("\n")
    assert lines[-1] == "  ... and 7 more"
    assert lines[-2] == f"  {defects[SHOWN - 1]}"
    assert len(lines) == SHOWN + 2


@given(DEFECTS)
def test_the_summary_counts_what_was_dropped(defects):
    text = "".join(DefectReport(FILE, dropped=defects).lines())
    for kind in {defect.kind for defect in defects}:
        count = sum(defect.kind == kind for defect in defects)
        assert f"{count} x {kind}" in text
    assert "\n" not in text
