import numpy as np
from cats_and_dogs import CAT, DOG, NOWHERE, arrays, place

from resnet_backbone.evaluation.confusion import ObjectMatches, match_objects
from resnet_backbone.evaluation.worst import worst_images

NAMES = ("cat", "dog")
BACKGROUND = 2


def test_what_is_wrong_is_said_with_its_weight():
    objects = [(CAT, place(0)), (CAT, place(1)), (DOG, place(2)), (DOG, place(3))]
    found = [(CAT, place(0), 0.9), (DOG, place(1), 0.75), (CAT, NOWHERE, 0.625)]
    (errors,) = worst_images(match_objects(*arrays(objects, found)), NAMES, 8)
    assert errors.remark == (
        "2 missed (dog, dog), 1 invented (cat 0.62), 1 confused (cat as dog 0.75)"
    )
    assert errors.weight == 2 + 0.625 + (1 + 0.75)


def test_the_worst_come_first_and_images_without_errors_not_at_all():
    rows = [
        (0, CAT, CAT, 0.9),
        (1, BACKGROUND, DOG, 0.6),
        (2, DOG, BACKGROUND, 0.0),
        (4, DOG, CAT, 0.5),
    ]
    images, true, predicted, scores = np.array(rows).T
    found = ObjectMatches(
        images.astype(int), true.astype(int), predicted.astype(int), scores, class_count=2
    )
    assert [errors.image for errors in worst_images(found, NAMES, 8)] == [4, 2, 1]
    assert [errors.image for errors in worst_images(found, NAMES, 2)] == [4, 2]


def test_nothing_to_judge():
    assert worst_images(match_objects(*arrays([], [])), NAMES, 8) == []


def test_many_errors_of_a_kind_are_counted():
    (errors,) = worst_images(
        match_objects(*arrays([(CAT, place(n)) for n in range(6)], [])), NAMES, 1
    )
    assert errors.remark == "6 missed (cat, cat, cat and 3 more)"
