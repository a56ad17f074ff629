"""What the parity tests compare, computed by our detector: small enough to record."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import numpy as np
import peers
import torch
from torch import Tensor

from resnet_backbone.detection.rcnn import RCNN
from resnet_backbone.structures import Batch


@dataclass(frozen=True)
class Case:
    """A detector and an input.

    C4 runs res5 on every region, so fewer of them keep its test short; nothing else is changed.
    """

    name: str
    overrides: tuple[str, ...] = ()
    options: tuple[object, ...] = ()

    def model(self) -> RCNN:
        return peers.build_ours(self.name, self.overrides)

    def batch(self) -> Batch:
        # Sizes that 32 divides in sum: our batches are padded so, detectron2's C4 and DC5 are not.
        return peers.make_batch([(192, 256), (160, 224)], instances=5)


_FEWER_REGIONS = ("model.rpn.post_nms_topk_test=200", "model.roi.samples_per_image=64")
_FEWER_OPTIONS = ("MODEL.RPN.POST_NMS_TOPK_TEST", 200, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 64)

CASES = (
    Case("coco_mrcnn_r50"),
    Case("coco_frcnn_r50_c4", _FEWER_REGIONS, _FEWER_OPTIONS),
    Case("coco_mrcnn_r50_c4", _FEWER_REGIONS, _FEWER_OPTIONS),
    Case("coco_frcnn_r50_dc5"),
)

# The mask head of C4 is left to the comparison with detectron2 itself: it is one more slow case.
RECORDED = tuple(case for case in CASES if case.name != "coco_mrcnn_r50_c4")


def lowest_first(keys: Tensor, count: int, stream: int) -> Tensor:
    """Stands in for `random_order`: the candidates with the lowest indices are sampled."""
    return torch.arange(count, 0, -1, dtype=torch.int32).expand(len(keys), -1)


def sample_in_order():
    """Makes our detectors sample deterministically inside a `with` block."""
    stack = mock.patch.multiple("resnet_backbone.detection.rpn", random_order=lowest_first)
    heads = mock.patch.multiple("resnet_backbone.detection.roi_heads", random_order=lowest_first)
    return stack, heads


def our_losses(model: RCNN, batch: Batch) -> dict[str, Tensor]:
    """Returns the training losses, with gradients, sampled in order."""
    rpn, heads = sample_in_order()
    with rpn, heads:
        return model.train().losses(batch)


@torch.no_grad()
def our_numbers(model: RCNN, batch: Batch) -> dict[str, np.ndarray]:
    """Returns everything compared at inference, as arrays."""
    model.eval()
    features = model.backbone(model.normalize(batch))
    maps = model.neck(features)
    predictions = model.rpn(maps)
    proposals = model.rpn.propose(predictions, batch.sizes)
    numbers = {f"feature/{name}": feature.numpy() for name, feature in features.items()}
    numbers |= {f"anchors/{i}": anchors.numpy() for i, anchors in enumerate(predictions.anchors)}
    detections = model.detect(batch)
    for row, found in enumerate(detections):
        valid = proposals.valid[row]
        numbers[f"proposals/{row}"] = proposals.boxes[row][valid].numpy()
        numbers[f"objectness/{row}"] = proposals.scores[row][valid].numpy()
        numbers[f"boxes/{row}"] = found.boxes.numpy()
        numbers[f"scores/{row}"] = found.scores.numpy()
        numbers[f"classes/{row}"] = found.classes.numpy()
        if found.masks is not None:
            numbers[f"masks/{row}"] = found.masks.numpy()
    return numbers


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Compares what `theirs` holds, with the tolerances that the project promises.

    Proposals are compared as sets: among a thousand scores some are closer than float32 rounding,
    and their order means nothing.
    """
    for key, expected in theirs.items():
        found, kind = ours[key], key.split("/")[0]
        if kind == "proposals":
            row = key.split("/")[1]
            scores = (ours[f"objectness/{row}"], theirs[f"objectness/{row}"])
            _assert_same_set(found, expected, *scores)
            continue
        assert found.shape == expected.shape, (key, found.shape, expected.shape)
        error = np.abs(found.astype(np.float64) - expected).max()
        if kind in ("anchors", "classes"):
            assert error == 0, key
        elif kind == "masks":
            bits = [
                np.unpackbits(m, axis=-1) if m.dtype == np.uint8 else m for m in (found, expected)
            ]
            assert (bits[0] == bits[1]).mean() >= 0.999, key
        elif kind == "feature":
            assert error <= 1e-5 * np.abs(expected).max(), (key, error)
        else:
            limit = {"boxes": 0.01, "scores": 1e-4, "objectness": 1e-4}[kind]
            assert error <= limit, (key, error)


def _assert_same_set(
    found: np.ndarray, expected: np.ndarray, scores: np.ndarray, expected_scores: np.ndarray
) -> None:
    assert len(found) == len(expected)
    distance = np.abs(found[:, None] - expected[None]).max(axis=2)
    partner = distance.argmin(axis=0)
    assert distance.min(axis=0).max() <= 0.01  # pixels
    assert len(np.unique(partner)) == len(expected)
    assert np.abs(scores[partner] - expected_scores).max() <= 1e-4


def condense(numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what is recorded: samples of the large arrays, the small ones whole."""
    strides = {"feature": 997, "anchors": 101}  # primes, so that every channel and place is met
    small = {}
    for key, array in numbers.items():
        stride = strides.get(key.split("/")[0])
        if stride is not None:
            array = array.reshape(-1, 4 if key.startswith("anchors") else 1)[::stride]
        small[key] = np.packbits(array, axis=-1) if array.dtype == bool else array
    return small
