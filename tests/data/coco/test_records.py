import pytest

from resnet_backbone.data.coco.records import Rejected, get, required


@pytest.mark.parametrize("record", [None, 5, [], "id", {}])
def test_what_is_not_there_is_none(record):
    assert get(record, "id") is None
    assert get({"id": 3}, "id") == 3


def test_a_required_key_is_there_or_named():
    assert required({"id": None}, "id") is None
    with pytest.raises(Rejected) as caught:
        required({}, "bbox")
    assert (caught.value.kind, caught.value.detail) == ("missing key", "there is no key 'bbox'")
