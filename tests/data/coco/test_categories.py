"""Names of categories: one for each."""

from pathlib import Path

import pytest

from resnet_backbone.data.coco.categories import read_categories, settle_names
from resnet_backbone.data.coco.defects import DefectReport
from resnet_backbone.data.coco.identifiers import Identifiers


@pytest.fixture
def report():
    return DefectReport(Path("instances.json"))


def used(*ids):
    return [{"category_id": key} for key in ids]


def test_names_are_composed(report):
    names = read_categories([{"id": 1, "name": "e\u0301clair"}], Identifiers(), report)
    assert names == {1: "\u00e9clair"} and not report.fatal


def test_numbers_are_names(report):
    """Classes 0 to 9, say, which pandas writes as numbers."""
    records = [{"id": 1, "name": 0}, {"id": 2, "name": "1"}]
    assert read_categories(records, Identifiers(), report) == {1: "0", 2: "1"}
    assert not report.fatal


@pytest.mark.parametrize("name", [None, 5.5, True, "half \ud83d"])
def test_what_is_no_name_is_refused(report, name):
    read_categories([{"id": 1, "name": name}], Identifiers(), report)
    assert [defect.kind for defect in report.fatal] == ["bad category", "no categories"]


def test_different_names_stay_as_they_are(report):
    names = {0: "animals", 1: "cat", 2: "dog"}
    assert settle_names(names, used(1), report) == names
    assert not report.dropped and not report.notes


@pytest.mark.parametrize("ids", [(1,), (1.0,), ("1",), ()])
def test_roboflows_unused_twin_is_left_out(report, ids):
    """Its export of one class: the class itself, and a superfluous category 0 of that name."""
    assert settle_names({0: "cat", 1: "cat"}, used(*ids), report) == {1: "cat"}
    (defect,) = report.dropped
    assert str(defect) == (
        "category 0: unused category: no annotation has it, and category 1 has the same name, 'cat'"
    )


def test_the_used_twin_stays_whichever_it_is(report):
    assert settle_names({0: "cat", 1: "cat", 2: "dog"}, used(0, 2), report) == {0: "cat", 2: "dog"}


def test_twins_that_are_both_used_are_told_apart(report):
    settled = settle_names({1: "cat", 2: "dog", 3: "cat", 9: "cat"}, used(1, 3), report)
    assert settled == {1: "cat (id 1)", 2: "dog", 3: "cat (id 3)"}
    assert report.notes == [
        "categories of the same name are told apart by their ids: cat (id 1), cat (id 3)"
    ]
