"""The error breakdown: cases worked out by hand, and hotcoco's own where the two must agree."""

import math

import hotcoco
import numpy as np
import pytest
from cats_and_dogs import CAT, DOG, NOWHERE, arrays, half_off, place

from resnet_backbone.evaluation.average_precision import average_precision
from resnet_backbone.evaluation.compact import CompactDetections, join
from resnet_backbone.evaluation.ground_truth import pack_truth
from resnet_backbone.evaluation.mistakes import break_down

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
# hotcoco's names for them.
ABBREVIATED = dict(zip(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), KINDS, strict=True))

CATS = [(CAT, place(0)), (CAT, place(1))]
CAT_AND_DOG = [(CAT, place(0)), (DOG, place(1))]
FOUND = (CAT, place(0), 0.8)
# One of two objects found is COCO's recalls 0 to 0.50: 51 of 101.
HALF = 51 / 101
CASES = {
    "nothing wrong": (CATS, [FOUND, (CAT, place(1), 0.7)], {}),
    "localisation": (CATS, [FOUND, (CAT, half_off(1), 0.7)], {"localisation": (1, 1 - HALF)}),
    # The second object is found at precision 2/3, until the wrong one before it is taken away.
    "localisation of an object already found": (
        CATS,
        [FOUND, (CAT, half_off(0), 0.75), (CAT, place(1), 0.7)],
        {"localisation": (1, 1 - (51 + 50 * 2 / 3) / 101)},
    ),
    "two localisations of one object": (
        CATS,
        [FOUND, (CAT, half_off(1), 0.7), (CAT, half_off(1), 0.6)],
        {"localisation": (2, 1 - HALF)},
    ),
    # Cats 0 of 1; dogs: the wrong one first, then the right one at precision 1/2.
    "classification": (
        CAT_AND_DOG,
        [(DOG, place(0), 0.9), (DOG, place(1), 0.8)],
        {"classification": (1, 1 - 0.25)},
    ),
    # The cat, which nothing nearly found, is missed too; forgiving it leaves dogs alone, 1/2.
    "both": (
        CAT_AND_DOG,
        [(DOG, half_off(0), 0.9), (DOG, place(1), 0.8)],
        {"both": (1, 0.25), "missed": (1, 0.25)},
    ),
    "duplicate": (
        CATS,
        [FOUND, (CAT, place(0), 0.75), (CAT, place(1), 0.7)],
        {"duplicate": (1, 1 - (51 + 50 * 2 / 3) / 101)},
    ),
    "background": (
        CATS,
        [FOUND, (CAT, NOWHERE, 0.75), (CAT, place(1), 0.7)],
        {"background": (1, 1 - (51 + 50 * 2 / 3) / 101)},
    ),
    "missed": (CATS, [FOUND], {"missed": (1, 1 - HALF)}),
    "a class was missed entirely": (CAT_AND_DOG, [FOUND], {"missed": (1, 0.5)}),
    "nothing found": (CAT_AND_DOG, [], {"missed": (2, math.nan)}),
    "inside a crowd": (
        [(CAT, place(0)), (CAT, place(1), "crowd")],
        [FOUND, (CAT, place(1), 0.9)],
        {},
    ),
    "beside a crowd": (
        [(CAT, place(0)), (CAT, place(1), "crowd")],
        [(CAT, place(0), 0.8), (CAT, (60.0 + 24, 0.0, 40.0, 40.0), 0.9)],
        {"background": (1, 0.5)},
    ),
}


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("name", CASES)
def test_worked_out_by_hand(name, task):
    objects, detections, expected = CASES[name]
    found = break_down(*arrays(objects, detections), task)
    assert tuple(found) == KINDS
    for kind in KINDS:
        count, gain = expected.get(kind, (0, 0.0))
        assert found[kind]["count"] == count, kind
        assert found[kind]["AP50"] == pytest.approx(gain, abs=1e-12, nan_ok=True), kind


def test_one_object_is_found_by_one_correction_only():
    """A better detection in a wrong place keeps a worse one of a wrong class from the object."""
    objects = [*CAT_AND_DOG, (DOG, place(2))]
    detections = [(CAT, half_off(0), 0.9), (DOG, place(0), 0.3), (DOG, place(1), 0.8)]
    found = break_down(*arrays(objects, detections), "bbox")
    assert found["localisation"] == {"count": 1, "AP50": pytest.approx(0.5)}
    # Dogs: what is taken away comes after all that is right.
    assert found["classification"] == {"count": 1, "AP50": pytest.approx(0.0)}


def random_scene(seed):
    """Images of a few objects, each class found somewhere; IoUs of all sizes; no crowds."""
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    content = {
        "images": [{"id": key, "height": 300, "width": 300} for key in range(count)],
        "categories": [{"id": key, "name": str(key)} for key in range(classes)],
        "annotations": [],
    }
    found = {}
    for key in range(count):
        boxes = np.hstack((rng.uniform(0, 200, (6, 2)), rng.uniform(20, 90, (6, 2))))
        kinds = np.append(np.arange(classes), rng.integers(0, classes, 6 - classes))
        content["annotations"] += [
            {
                "id": len(content["annotations"]) + row + 1,
                "image_id": key,
                "category_id": int(kinds[row]),
                "bbox": boxes[row].tolist(),
                "area": float(boxes[row, 2] * boxes[row, 3]),
                "iscrowd": 0,
            }
            for row in range(6)
        ]
        near = rng.integers(0, 6, 15)
        guesses = boxes[near]
        guesses[:, :2] += rng.normal(0, 0.25, (15, 2)) * guesses[:, 2:]
        guesses[:, 2:] *= np.exp(rng.normal(0, 0.15, (15, 2)))
        named = np.where(rng.random(15) < 0.6, kinds[near], rng.integers(0, classes, 15))
        found[key] = CompactDetections(
            size=(300, 300),
            boxes=np.vstack((guesses, boxes[:classes])),
            scores=rng.random(15 + classes),
            classes=np.append(named, np.arange(classes)),
            masks=None,
        )
    return content, found


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_hotcoco_where_every_class_was_found(seed):
    content, found = random_scene(seed)
    truth, joined = pack_truth(content, with_masks=False), join(found, 100)
    reference = hotcoco.COCO(content)
    rows = np.column_stack((joined.images, joined.boxes, joined.scores, joined.classes))
    judged = hotcoco.COCOeval(reference, reference.load_res(rows), "bbox")
    judged.evaluate()
    expected = judged.tide_errors()
    ours = break_down(truth, joined, "bbox")
    for short, name in ABBREVIATED.items():
        assert ours[name]["count"] == expected["counts"][short], name
        assert ours[name]["AP50"] == pytest.approx(expected["delta_ap"][short], abs=1e-9), name
    ap50 = average_precision(truth, joined, "bbox").metrics["AP50"]
    assert ap50 == pytest.approx(expected["ap_base"], abs=1e-9)
