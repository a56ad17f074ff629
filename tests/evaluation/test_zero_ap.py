from collections import Counter

import pytest

from resnet_backbone.evaluation.zero_ap import explain

NAN = float("nan")


@pytest.mark.parametrize("ap", [{"bbox": 0.3, "segm": 0.2}, {"bbox": 0.001}])
def test_a_result_above_zero_needs_no_explanation(ap):
    assert explain(ap, Counter(cat=1), Counter(cat=1), 0.9) is None


def test_no_predictions():
    text = explain({"bbox": 0.0, "segm": 0.0}, Counter(cat=3), Counter(), 0.0)
    assert text.startswith("bbox and segm AP is zero: there are no predictions")
    assert "above the threshold" in text


def test_number_of_predictions_and_highest_score():
    text = explain({"bbox": 0.0}, Counter(cat=3), Counter(cat=12), 0.4321)
    assert "of 12 predictions (highest score 0.432)" in text
    assert "has a box with an IoU of 0.5" in text
    assert "Never predicted" not in text


def test_masks_alone_at_fault():
    text = explain({"bbox": 0.4, "segm": 0.0}, Counter(cat=3), Counter(cat=12), 0.5)
    assert text.startswith("segm AP is zero")
    assert "has a mask with an IoU of 0.5" in text


def test_classes_that_never_appear_are_named_on_both_sides():
    text = explain({"bbox": 0.0}, Counter(cat=1, dog=2), Counter(dog=3, cow=1), 0.5)
    assert "Never predicted: cat." in text
    assert "Predicted, but not in the ground truth: cow." in text


def test_long_lists_of_classes_are_cut():
    truth = Counter({f"class{i:02}": 1 for i in range(25)})
    text = explain({"bbox": 0.0}, truth, Counter(other=1), 0.5)
    assert "class09 and 15 more." in text
    assert "class10" not in text


def test_masks_without_any_outline_to_compare_with():
    text = explain({"bbox": 0.4, "segm": NAN}, Counter(cat=3), Counter(cat=12), 0.5)
    assert text.startswith("segm AP is undefined: no instance has an outline")
    both = explain({"bbox": 0.0, "segm": NAN}, Counter(cat=3), Counter(cat=12), 0.5)
    assert text in both and "bbox AP is zero" in both


def test_no_ground_truth():
    text = explain({"bbox": NAN}, Counter(), Counter(cat=1), 0.5)
    assert text == "AP is undefined: the images contain no instances."
