import copy
import json
import math

import pytest

from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.scores import json_table, table_of_json

TABLE = {"bbox": {"AP": 0.5, "AP50": math.nan}}


def test_metrics_are_attributes():
    result = EvaluationResult({"bbox": {"AP": 0.5, "AP50": 0.75}})
    assert (result.bbox.AP, result.bbox["AP50"]) == (0.5, 0.75)
    assert "bbox" in dir(result) and "AP50" in dir(result.bbox)
    assert copy.deepcopy(result) == result  # which asks for attributes of a half-made object


def test_what_is_not_there_is_said_together_with_what_is():
    result = EvaluationResult({"bbox": {"AP": 0.5}})
    with pytest.raises(AttributeError, match="no attribute segm; there are metrics of bbox"):
        _ = result.segm
    with pytest.raises(AttributeError, match="no metric AP90; there are AP"):
        _ = result.bbox.AP90


def test_undefined_values_pass_through_json():
    text = json.dumps(json_table(TABLE), allow_nan=False)
    assert text == '{"bbox": {"AP": 0.5, "AP50": null}}'
    found = table_of_json(json.loads(text))
    assert found["bbox"]["AP"] == 0.5 and math.isnan(found["bbox"]["AP50"])
