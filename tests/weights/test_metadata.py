"""Text beside tensors: read within bounds, whatever it holds."""

import json

import pytest

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import METADATA_KEY, WeightsCard, card_in
from resnet_backbone.weights.metadata import category_ids_in, class_names_in, section_in

DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE = ["", "null", "{}", "1e400", "[null]", "[1e400]", "[1.5]", DEEP, "[" + "9" * 5000 + "]"]


def test_what_runs_write_comes_back():
    assert class_names_in({"class_names": json.dumps(["a", "ü", ""])}, "f") == ("a", "ü", "")
    assert category_ids_in({"category_ids": "[1, 90, -3]"}, "f") == (1, 90, -3)
    assert class_names_in({}, "f") is None and category_ids_in({}, "f") is None


@pytest.mark.parametrize("text", [*HOSTILE, '["1"]', "[true]", "[9007199254740993]"])
def test_category_ids_are_integers(text):
    with pytest.raises(WeightsError, match="^f: cannot read its category_ids: ") as error:
        category_ids_in({"category_ids": text}, "f")
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


@pytest.mark.parametrize("text", [*HOSTILE, "[1]", json.dumps(["a" * 1001])])
def test_class_names_are_short_texts(text):
    with pytest.raises(WeightsError, match="^f: cannot read its class_names: ") as error:
        class_names_in({"class_names": text}, "f")
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


def test_more_classes_or_text_than_anybody_has():
    with pytest.raises(WeightsError, match="at most 100000 items"):
        category_ids_in({"category_ids": json.dumps([1] * 100_001)}, "f")
    with pytest.raises(WeightsError, match="its class_names has 16777217 characters"):
        class_names_in({"class_names": " " * (2**24 + 1)}, "f")


@pytest.mark.parametrize(
    "content",
    [
        *(text for text in HOSTILE if text != "{}"),
        json.dumps({f"key{i}": 1 for i in range(5000)}),
        json.dumps({"k" * 5000: 1}),
        '{"mean": [1, 2]}',
        '{"mean": [1, 2, 1e400]}',
        '{"std": [1, 2, 0]}',
        '{"std": [1, 2, -3]}',
        '{"norm_eps": -1e-9}',
        '{"channel_order": "GBR"}',
    ],
)
def test_cards_are_read_by_their_schema(content):
    with pytest.raises(WeightsError, match="^f: cannot read its card: ") as error:
        card_in({METADATA_KEY: content}, "f")
    assert len(str(error.value)) < 2000


def test_a_missing_section_is_none():
    assert section_in(WeightsCard, {}, "card", "f") is None
    assert section_in(WeightsCard, {"card": "{}"}, "card", "f") == WeightsCard()
