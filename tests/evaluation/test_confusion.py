"""Matches of objects and detections: by hand, and against a plain loop with pycocotools' IoU."""

import numpy as np
import pytest
from cats_and_dogs import CAT, DOG, NOWHERE, arrays, half_off, place
from pycocotools import mask as mask_api
from random_coco import our_numbers, random_data

from resnet_backbone.evaluation.confusion import match_objects

BACKGROUND = 2


def rows(objects, detections):
    found = match_objects(*arrays(objects, detections))
    return [*zip(found.true.tolist(), found.predicted.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        ([(CAT, place(0))], [(CAT, place(0), 0.9)], [(CAT, CAT)]),
        ([(CAT, place(0))], [(DOG, place(0), 0.5)], [(CAT, DOG)]),
        ([(CAT, place(0))], [(CAT, place(0), 0.49)], [(CAT, BACKGROUND)]),
        ([(CAT, place(0))], [(CAT, half_off(0), 0.9)], [(BACKGROUND, CAT), (CAT, BACKGROUND)]),
        ([], [(DOG, NOWHERE, 0.9)], [(BACKGROUND, DOG)]),
        # The one with the higher score takes the object, whatever its class.
        (
            [(CAT, place(0))],
            [(CAT, place(0), 0.6), (DOG, place(0), 0.9)],
            [(CAT, DOG), (BACKGROUND, CAT)],
        ),
        ([(CAT, place(0), "crowd")], [(DOG, place(0), 0.9)], []),
        ([(CAT, place(0), "crowd")], [(DOG, NOWHERE, 0.9)], [(BACKGROUND, DOG)]),
        ([], [], []),
    ],
    ids=lambda value: None,
)
def test_by_hand(objects, detections, expected):
    assert rows(objects, detections) == expected


def test_the_score_is_the_detections_and_images_are_counted():
    found = match_objects(*arrays([(CAT, place(0)), (DOG, place(2))], [(CAT, place(0), 0.75)]))
    assert found.scores.tolist() == [0.75, 0.0]
    assert found.images.tolist() == [0, 0]
    assert found.matrix.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def plain_matrix(content, found):
    """The same in a plain loop over dictionaries."""
    ids = [category["id"] for category in content["categories"]]
    matrix = np.zeros((len(ids) + 1, len(ids) + 1), dtype=int)
    by_image = {image.image_id: image for image in found}
    for image in content["images"]:
        objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        detections = []
        if image["id"] in by_image:
            own = by_image[image["id"]]
            for k in range(len(ids)):  # as COCO, the 100 best of a class
                chosen = (own.classes == k).nonzero()[:, 0].tolist()
                chosen = sorted(chosen, key=lambda i: -float(own.scores[i]))[:100]
                detections += [i for i in chosen if own.scores[i] >= 0.5]
            detections = sorted(sorted(detections), key=lambda i: -float(own.scores[i]))
        taken = set()
        for i in detections:
            x0, y0, x1, y1 = own.boxes[i].double().tolist()
            box, k = [x0, y0, x1 - x0, y1 - y0], int(own.classes[i])
            overlaps = {
                n: float(mask_api.iou([box], [a["bbox"]], [a["iscrowd"]])[0, 0])
                for n, a in enumerate(objects)
            }
            free = [n for n, a in enumerate(objects) if not a["iscrowd"] and n not in taken]
            best = max(free, key=lambda n: overlaps[n], default=None)
            if best is not None and overlaps[best] >= 0.5:
                taken.add(best)
                matrix[ids.index(objects[best]["category_id"]), k] += 1
            elif not any(objects[n]["iscrowd"] and v >= 0.5 for n, v in overlaps.items()):
                matrix[-1, k] += 1
        for n, a in enumerate(objects):
            if not a["iscrowd"] and n not in taken:
                matrix[ids.index(a["category_id"]), -1] += 1
    return matrix


@pytest.mark.parametrize("seed", range(24))
def test_equal_to_a_plain_loop(tmp_path, seed):
    content, found = random_data(seed)
    _, evaluator = our_numbers(tmp_path, content, found)
    matches = evaluator.details.matches
    assert np.array_equal(matches.matrix, plain_matrix(content, found))
    assert evaluator.details.image_ids == tuple(sorted(i["id"] for i in content["images"]))
    assert (np.diff(matches.images) >= 0).all()
