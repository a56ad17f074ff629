"""The numbers of detection against each other and against what the paper says of them."""

import pytest

from resnet_backbone.paper.published_detection import (
    BEYOND,
    DETECTION_TABLES,
    TABLE_7,
    TABLE_8,
    TABLE_9,
    TABLE_12,
)


def values(table, metric):
    return {row.label: row.value for row in table.rows if row.metric == metric}


def test_what_the_text_says_of_faster_rcnn():
    # Appendix A: more than 3 % mAP on PASCAL VOC by the features alone.
    voc = values(TABLE_7, "mAP")
    assert voc["ResNet-101, VOC 07+12 to 07"] - voc["VGG-16, VOC 07+12 to 07"] > 3
    assert voc["ResNet-101, VOC 07++12 to 12"] - voc["VGG-16, VOC 07++12 to 12"] > 3
    # COCO: the increase of AP@[.5, .95], 6.0, is nearly as big as that of AP@.5, 6.9.
    strict, loose = values(TABLE_8, "AP"), values(TABLE_8, "AP50")
    assert strict["ResNet-101"] - strict["VGG-16"] == pytest.approx(6.0)
    assert loose["ResNet-101"] - loose["VGG-16"] == pytest.approx(6.9)


@pytest.mark.parametrize("metric", ["AP", "AP50"])
def test_each_row_of_table_9_adds_to_the_one_before(metric):
    found = values(TABLE_9, metric)
    for split in ("validation", "test-dev"):
        rows = [value for label, value in found.items() if label.endswith(split)]
        assert rows == sorted(rows) and len(rows) == 3
    assert found["box refinement, validation"] > values(TABLE_8, metric)["ResNet-101"]


def test_what_the_text_says_of_the_competitions():
    # Appendix B: the ensemble won COCO 2015 with 59.0 and 37.4.
    assert values(TABLE_9, "AP50")["ensemble of 3, test-dev"] == 59.0
    assert values(TABLE_9, "AP")["ensemble of 3, test-dev"] == 37.4
    # Box refinement improves mAP by about 2 points.
    for metric in ("AP", "AP50"):
        before = values(TABLE_8, metric)["ResNet-101"]
        after = values(TABLE_9, metric)["box refinement, validation"]
        assert after - before == pytest.approx(2, abs=1)
    # ImageNet detection: the single model has 58.8 % mAP on the test set, the ensemble 62.1 %.
    detection = values(TABLE_12, "mAP")
    assert (detection["single model, test"], detection["ensemble, test"]) == (58.8, 62.1)
    for kind in ("single model", "ensemble"):
        assert detection[f"{kind}, test"] < detection[f"{kind}, val2"]


def test_strict_overlap_is_harder_and_all_are_of_detectors():
    for table in (*DETECTION_TABLES, *BEYOND):
        assert (table.testing, table.schedule) == ("detection", None)
        strict, loose = values(table, "AP"), values(table, "AP50")
        assert strict.keys() == loose.keys()
        assert all(strict[label] < loose[label] for label in strict)
    keys = [table.key for table in (*DETECTION_TABLES, *BEYOND)]
    assert len(set(keys)) == len(keys)


def test_only_what_this_library_can_train_names_a_network():
    """The others are of VGG, of systems with further parts, or of ensembles."""
    named = {row.label for table in DETECTION_TABLES for row in table.rows if row.network}
    assert all(label.startswith("ResNet-101") for label in named) and len(named) == 3
    assert not any(row.network for table in BEYOND for row in table.rows)
