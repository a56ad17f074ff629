"""Judging a model: what all tasks' evaluations have in common."""

import json
import logging
import math
import sys

import pytest

from resnet_backbone.engine.evaluation import EvaluationResult, checked_batches
from resnet_backbone.errors import Interrupted
from resnet_backbone.utils import distributed

NAN = math.nan


def result(**changes):
    values = {
        "metrics": {"bbox": {"AP": 0.5, "APs": NAN}, "segm": {"AP": 0.25}},
        "loss": {"loss": 1.5, "loss_cls": 1.0, "loss_mask": math.inf},
        "explanation": None,
        "per_class": {"bbox": {"cat": 0.5, "dog": NAN}},
        "images": 5,
        "seconds": 0.25,
    }
    return EvaluationResult(**values | changes)


def test_a_line_of_metrics_is_flat_and_undefined_numbers_are_none():
    assert result().flat() == {
        "bbox/AP": 0.5,
        "bbox/APs": None,
        "segm/AP": 0.25,
        "val_loss": 1.5,
        "val_loss_cls": 1.0,
        "val_loss_mask": None,
    }
    assert set(result(loss=None).flat()) == {"bbox/AP", "bbox/APs", "segm/AP"}


def test_json_holds_everything_and_no_number_that_json_has_not():
    found = json.loads(json.dumps(result(explanation="why").to_dict(), allow_nan=False))
    assert found == {
        "metrics": {"bbox": {"AP": 0.5, "APs": None}, "segm": {"AP": 0.25}},
        "per_class": {"bbox": {"cat": 0.5, "dog": None}},
        "loss": {"loss": 1.5, "loss_cls": 1.0, "loss_mask": None},
        "explanation": "why",
        "images": 5,
        "seconds": 0.25,
        "images_per_second": 20.0,
    }
    assert result(seconds=0.0).to_dict()["images_per_second"] is None
    assert result(loss=None).to_dict()["loss"] is None


def test_as_text_it_is_tables_losses_and_the_explanation():
    classes, metrics, losses, why = str(result(explanation="AP is zero")).split("\n\n")
    assert classes.split("\n")[1:] == ["cat    0.500", "dog      n/a"]
    assert [line.split() for line in metrics.split("\n")] == [
        ["AP", "APs"],
        ["bbox", "0.500", "n/a"],
        ["segm", "0.250", "n/a"],
    ]
    assert losses == "loss 1.5000  loss_cls 1.0000  loss_mask inf"
    assert why == "AP is zero"
    assert "loss" not in str(result(loss=None))
    nothing = {"metrics": {}, "loss": None, "per_class": {}}
    assert str(result(**nothing, explanation="There are no annotations.")) == (
        "There are no annotations."
    )


def never():
    return False


def test_batches_come_as_they_are():
    assert list(checked_batches(["a", "b", "c"], never)) == ["a", "b", "c"]
    assert list(checked_batches([], never)) == []


def test_a_signal_is_seen_before_the_next_batch():
    seen, answers = [], iter([False, False, True])
    with pytest.raises(Interrupted, match="stopped by a signal after 2 of 5 batches"):
        for batch in checked_batches("abcde", lambda: next(answers)):
            seen.append(batch)
    assert seen == ["a", "b"]


def test_every_rank_is_asked_as_often_as_the_one_with_the_most_batches(monkeypatch):
    """Asking may be a message to all ranks, which would hang if one did not take part."""
    monkeypatch.setattr(distributed, "all_gather_object", lambda value: [2, value, 5])
    asked = []
    found = list(checked_batches("abc", lambda: bool(asked.append(1))))
    assert found == ["a", "b", "c"] and len(asked) == 5


def test_short_evaluations_need_no_lines_and_long_ones_say_how_far_they_are(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    list(checked_batches("abc", never))
    assert caplog.messages == []
    monkeypatch.setattr("resnet_backbone.utils.progress.LOG_SECONDS", 0)
    list(checked_batches("abc", never))
    assert caplog.messages == [f"evaluated {done} of 3 batches" for done in (1, 2, 3)]


def test_a_terminal_gets_a_bar_instead_and_other_ranks_lines(caplog, capsys, monkeypatch):
    caplog.set_level(logging.INFO, logger="resnet_backbone")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(checked_batches("abc", never)) == ["a", "b", "c"]
    assert not caplog.messages and "evaluating" in capsys.readouterr().err
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr("resnet_backbone.utils.progress.LOG_SECONDS", 0)
    list(checked_batches("abc", never))
    assert len(caplog.messages) == 3 and "evaluating" not in capsys.readouterr().err
