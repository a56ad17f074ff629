"""Categories of one file in terms of another's: what is mapped, said and refused."""

import copy

import numpy as np
import pytest
from coco_files import good, write

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import build_dataset
from resnet_backbone.errors import DataError, WeightsError
from resnet_backbone.tasks.detection.classes import (
    Classes,
    in_classes_of,
    in_classes_of_trained,
)
from resnet_backbone.tasks.detection.trained import Trained

TRAIN = Classes(("three", "seven", "nine"), (3, 7, 9), "train.json")


@pytest.fixture
def dataset_with(tmp_path):
    """Writes `coco_files.good()` with these categories; annotations refer to them by id."""

    def build(categories, ids_of_annotations=None):
        content = copy.deepcopy(good())
        content["categories"] = [{"id": key, "name": name} for key, name in categories]
        for annotation, key in zip(
            content["annotations"], ids_of_annotations or (7, 3), strict=True
        ):
            annotation["category_id"] = key
        file, folder = write(tmp_path, content)
        split = {"images": folder.name, "annotations": file.name}
        cfg = DataConfig.model_validate({"root": str(tmp_path), "train": split, "val": split})
        return build_dataset(cfg, "val", with_masks=False, seed=0)

    return build


def classes_of(dataset):
    """The class of the one object in each image, as the detector's losses get it."""
    return [int(dataset.test_sample(index).classes) for index in range(len(dataset))]


def test_the_same_categories_stay_as_they_are(dataset_with, caplog):
    dataset = dataset_with([(9, "nine"), (7, "seven"), (3, "three")])
    caplog.clear()
    found = in_classes_of(TRAIN, dataset)
    assert (found.class_names, found.category_ids) == (TRAIN.names, TRAIN.category_ids)
    assert classes_of(found) == [1, 0]
    assert caplog.text == ""


def test_other_ids_are_matched_by_name(dataset_with, caplog):
    """Ids 3 and 7 are swapped, so that the order of ids would exchange the classes."""
    caplog.set_level("INFO")
    swapped = dataset_with([(3, "seven"), (7, "three"), (1, "nine")], [3, 7])
    assert swapped.class_names == ("nine", "seven", "three")
    found = in_classes_of(TRAIN, swapped)
    assert (found.class_names, found.category_ids) == (TRAIN.names, (7, 3, 1))
    assert classes_of(found) == [1, 0]
    assert "matched with those of train.json by name; the ids of 3 of 3 differ" in caplog.text
    assert classes_of(swapped) == [1, 2], "the dataset itself is left as it was"


def test_a_subset_is_evaluated_and_the_rest_named(dataset_with, caplog):
    found = in_classes_of(TRAIN, dataset_with([(5, "nine"), (2, "three")], [5, 2]))
    assert (found.class_names, found.category_ids) == (TRAIN.names, (2, None, 5))
    assert classes_of(found) == [2, 0]
    assert "no category for 1 of the 3 classes of train.json, not evaluated" in caplog.text
    assert "not evaluated: seven" in caplog.text


def test_further_categories_are_left_out_if_nothing_is_annotated_with_them(dataset_with, caplog):
    more = [(1, "zebra"), (3, "three"), (7, "seven"), (9, "nine")]
    found = in_classes_of(TRAIN, dataset_with(more))
    assert found.category_ids == (3, 7, 9)
    assert classes_of(found) == [1, 0]
    assert "1 category without annotations, no classes of train.json, left out" in caplog.text


@pytest.mark.parametrize(
    ("categories", "ids", "said"),
    [
        (
            [(3, "three"), (7, "zebra")],
            None,
            "of 1 category that train.json does not have",
        ),
        ([(3, "drei"), (7, "sieben")], None, "2 categories that train.json does not have: "),
        ([(3, "Three"), (7, "seven")], None, "train.json does not have: Three"),
    ],
)
def test_annotations_of_unknown_categories_are_refused_with_both_lists(
    dataset_with, categories, ids, said
):
    with pytest.raises(DataError) as caught:
        in_classes_of(TRAIN, dataset_with(categories, ids))
    text = str(caught.value)
    assert said in text
    assert "\n  3 in train.json: three, seven, nine\n" in text
    names = ", ".join(name for _, name in categories)
    assert f"annotations.json: {names}\n" in text
    assert text.endswith("not to be evaluated")


def trained(names, ids, *, names_known=True):
    return Trained(None, None, names, ids, names_known)


def test_names_that_look_alike_are_told_apart(dataset_with):
    dataset = dataset_with([(3, "Three"), (7, "seven ")])
    classes = Classes(("three", "seven"), (3, 7), "train.json")
    with pytest.raises(DataError, match="differ in 'Three' and 'three', 'seven ' and 'seven'\n"):
        in_classes_of(classes, dataset)


def test_weights_follow_the_same_rule_with_their_own_error(dataset_with):
    dataset = dataset_with([(8, "seven"), (4, "three")], [8, 4])
    known = trained(("three", "seven"), (3, 7))
    assert classes_of(in_classes_of_trained(known, dataset, "model.safetensors")) == [1, 0]
    with pytest.raises(WeightsError, match=r"2 in model.safetensors: cat, dog"):
        in_classes_of_trained(trained(("cat", "dog"), (3, 7)), dataset, "model.safetensors")


def test_weights_without_names_are_taken_in_the_order_of_ids(dataset_with, caplog):
    dataset = dataset_with([(7, "seven"), (3, "three")])
    anonymous = trained(("class 0", "class 1"), (1, 2), names_known=False)
    assert in_classes_of_trained(anonymous, dataset, "model.pkl") is dataset
    assert "model.pkl does not name its 2 classes" in caplog.text
    one = trained(("class 0",), (1,), names_known=False)
    with pytest.raises(WeightsError, match="model.pkl has 1 class without names, but .* has 2"):
        in_classes_of_trained(one, dataset, "model.pkl")


def test_crowds_count_as_annotations_of_their_category(dataset_with):
    dataset = dataset_with([(3, "three"), (7, "seven")])
    assert np.array_equal(dataset.used_classes, [True, True])
