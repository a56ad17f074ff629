import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.errors import DataError
from resnet_backbone.evaluation.classification import ClassificationEvaluator

NAMES = tuple(f"class {number}" for number in range(8))


def ids(count: int, first: int = 0) -> list[str]:
    return [f"image {number}" for number in range(first, first + count)]


def evaluated(probabilities, labels, names=NAMES):
    evaluator = ClassificationEvaluator(names)
    evaluator.process(torch.as_tensor(probabilities), torch.as_tensor(labels), ids(len(labels)))
    return evaluator, evaluator.evaluate()["classification"]


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_those_of_topk(seed):
    """Distinct numbers have one order."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(50 * 8).reshape(50, 8).astype(np.float32)
    labels = rng.integers(8, size=50)
    evaluator, found = evaluated(scores, labels)
    order = (-scores).argsort(axis=1)
    for top, name in ((1, "top1_error"), (5, "top5_error")):
        hit = (order[:, :top] == labels[:, None]).any(axis=1)
        assert found[name] == pytest.approx(1 - hit.mean())
    by_class = evaluator.per_class["top1_error"]
    for label, name in enumerate(NAMES):
        own = labels == label
        expected = (order[own, 0] != label).mean() if own.any() else math.nan
        assert by_class[name] == pytest.approx(expected, nan_ok=True)
    assert found["images"] == 50


@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.integers(0, 7))
def test_a_tie_is_lost(row, label):
    _, found = evaluated([[float(value) for value in row]], [label])
    others = [value for index, value in enumerate(row) if index != label]
    not_below = sum(value >= row[label] for value in others)
    assert found["top1_error"] == float(not_below >= 1)
    assert found["top5_error"] == float(not_below >= 5)


def test_images_may_come_in_any_parts():
    scores, labels = torch.randn(20, 8), torch.arange(20) % 8
    _, whole = evaluated(scores, labels)
    evaluator = ClassificationEvaluator(NAMES)
    for start in (0, 7, 14):
        own = slice(start, start + 7)
        evaluator.process(scores[own], labels[own], ids(len(labels[own]), start))
    assert evaluator.evaluate()["classification"] == whole


def test_an_image_that_comes_twice_counts_once_and_reset_forgets():
    evaluator = ClassificationEvaluator(NAMES)
    row = torch.eye(8)[:1]
    evaluator.process(row, torch.tensor([0]), ["a"])
    evaluator.process(row, torch.tensor([0]), ["a"])
    evaluator.process(row, torch.tensor([1]), ["b"])
    assert evaluator.evaluate()["classification"]["images"] == 2
    assert evaluator.evaluate()["classification"]["top1_error"] == 0.5
    evaluator.reset()
    evaluator.process(row, torch.tensor([0]), ["c"])
    assert evaluator.evaluate()["classification"]["images"] == 1


def test_five_classes_or_fewer_have_no_top5():
    _, found = evaluated(torch.eye(5), torch.arange(5), NAMES[:5])
    assert set(found) == {"top1_error", "images"}


def test_without_images_there_is_no_error_rate():
    with pytest.raises(DataError, match="no validation image could be read"):
        ClassificationEvaluator(NAMES).evaluate()


def test_nothing_learned_is_explained():
    evaluator, _ = evaluated(torch.eye(8), torch.arange(8))
    assert evaluator.explanation is None
    evaluator, found = evaluated(torch.zeros(64, 8), torch.arange(64) % 8)
    assert found["top1_error"] == 1.0
    assert "guessing among 8 classes (0.875)" in evaluator.explanation


def test_scores_that_are_not_finite_name_the_image():
    evaluator = ClassificationEvaluator(NAMES)
    scores = torch.zeros(3, 8)
    scores[1, 2] = math.nan
    with pytest.raises(DataError, match="image 1: the classifier's scores are not finite"):
        evaluator.process(scores, torch.tensor([0, 1, 2]), ids(3))
