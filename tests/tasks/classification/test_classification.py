"""A classification reads, converts and draws."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_backbone.tasks.classification.classification import Classification, ClassScore


@pytest.fixture
def found():
    return Classification(
        image_id=9,
        image=torch.full((3, 47, 61), 200, dtype=torch.uint8),
        probabilities=torch.tensor([0.03125, 0.00390625, 0.90625, 0.05859375]),
        labels=torch.tensor([2, 3, 0, 1]),
        class_names=("tiger cat", "lynx", "tabby", "puma"),
    )


def test_it_reads_as_a_sentence_without_what_is_nothing(found):
    assert repr(found) == "0.91 tabby, 0.06 puma, 0.03 tiger cat"


def test_the_best_class_is_named_however_unlikely(found):
    unsure = Classification(**(vars(found) | {"probabilities": found.probabilities / 1000}))
    assert repr(unsure) == "0.00 tabby"


def test_columns_and_entries(found):
    assert found.names == ["tabby", "puma", "tiger cat", "lynx"]
    assert found.scores.tolist() == [0.90625, 0.05859375, 0.03125, 0.00390625]
    assert found.size == (47, 61)
    columns = found.to_dict()
    assert json.loads(json.dumps(columns)) == columns
    assert columns == {
        "name": found.names,
        "score": found.scores.tolist(),
        "class_index": [2, 3, 0, 1],
    }
    assert len(found) == 4 and [*found][1] == found[1] == ClassScore("puma", 0.05859375, 3)
    with pytest.raises(IndexError):
        found[4]


def test_a_notebook_shows_the_picture(found):
    shown = np.asarray(Image.open(io.BytesIO(found._repr_png_())))
    assert (shown == np.asarray(found.draw())).all()
