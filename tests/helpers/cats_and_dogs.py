"""An image of a few objects and detections, as the arrays that the evaluation works on."""

import hotcoco
import numpy as np

from resnet_backbone.evaluation.compact import CompactDetections, join
from resnet_backbone.evaluation.ground_truth import pack_truth

CAT, DOG = 0, 1
SIZE = (400, 400)


def place(column):
    """The box of an object; those of other columns do not touch it."""
    return (60.0 * column, 0.0, 40.0, 40.0)


def half_off(column):
    """Overlaps `place(column)` by a third."""
    x, y, w, h = place(column)
    return (x + w / 2, y, w, h)


NOWHERE = (200.0, 300.0, 40.0, 40.0)


def arrays(objects, detections, classes=2):
    """Objects are (class, box) or (class, box, "crowd"); detections are (class, box, score)."""
    content = {
        "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": key} for key in range(classes)],
        "annotations": [
            {
                "image_id": 1,
                "category_id": each[0],
                "bbox": each[1],
                "area": each[1][2] * each[1][3],
                "iscrowd": int(len(each) > 2),
                "segmentation": [outline(each[1])],
            }
            for each in objects
        ],
    }
    truth = pack_truth(content, with_masks=True)
    kinds, boxes, scores = zip(*detections, strict=True) if detections else ((), (), ())
    encoded = [hotcoco.mask.fr_py_objects([outline(box)], *SIZE)[0]["counts"] for box in boxes]
    found = CompactDetections(
        size=SIZE,
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        scores=np.array(scores, dtype=float),
        classes=np.array(kinds, dtype=int),
        masks=encoded,
    )
    return truth, join({0: found}, 100)


def outline(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]
