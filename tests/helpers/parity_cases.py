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
    With its seed, no suppression, no rank and no ReLU is so close that rounding decides it.
    """

    name: str
    overrides: tuple[str, ...] = ()
    options: tuple[object, ...] = ()
    seed: int = 1

    def model(self) -> RCNN:
        return peers.build_ours(self.name, self.overrides)

    def batch(self, model: RCNN) -> Batch:
        # Sides that 32 and 16 do not divide, and two sizes: FPN's batches are padded further than
        # to the largest image, those of C4 and DC5 are not, as in detectron2.
        return peers.make_batch(
            [(187, 250), (161, 213)],
            instances=5,
            seed=self.seed,
            size_divisor=model.size_divisor,
        )


_FEWER_REGIONS = ("model.rpn.post_nms_topk_test=200", "model.roi.samples_per_image=64")
_FEWER_OPTIONS = ("MODEL.RPN.POST_NMS_TOPK_TEST", 200, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 64)

CASES = (
    Case("coco_mrcnn_r50", seed=3),
    Case("coco_frcnn_r50_c4", _FEWER_REGIONS, _FEWER_OPTIONS),
    Case("coco_mrcnn_r50_c4", _FEWER_REGIONS, _FEWER_OPTIONS, seed=2),
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
    """Compares what `theirs` holds, with the tolerances that the project promises."""
    for key, expected in theirs.items():
        assert ours[key].shape == expected.shape, (key, ours[key].shape, expected.shape)
        kind, _, row = key.partition("/")
        if kind == "feature":
            error = np.abs(ours[key] - expected).max()
            assert error <= 1e-5 * np.abs(expected).max(), (key, error)
        elif kind == "anchors":
            assert (ours[key] == expected).all(), key
        elif kind == "proposals":
            _partners(ours, theirs, {key: 1, f"objectness/{row}": 100})
        elif kind == "boxes":
            weights = {key: 1, f"scores/{row}": 100, f"classes/{row}": 1000}
            partners = _partners(ours, theirs, weights)
            if f"masks/{row}" in theirs:
                _assert_same_masks(ours[f"masks/{row}"][partners], theirs[f"masks/{row}"])


def _partners(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], weights: dict[str, int]
) -> np.ndarray:
    """Returns for each of their boxes the index of our equal one; there must be one for each.

    They are compared as sets: among a thousand scores some are closer than float32 rounding, and
    their order means nothing. The weights make 0.01 the tolerance of all together: 0.01 pixel,
    a score of 1e-4, and the same class.
    """

    def columns(numbers: dict[str, np.ndarray]) -> np.ndarray:
        parts = [w * numbers[key].reshape(len(numbers[key]), -1) for key, w in weights.items()]
        return np.concatenate(parts, axis=1)

    distance = np.abs(columns(ours)[:, None] - columns(theirs)[None]).max(axis=2)
    partners = distance.argmin(axis=0)
    assert distance.min(axis=0).max() <= 0.01, (list(weights), distance.min(axis=0).max())
    assert len(np.unique(partners)) == len(partners), list(weights)
    return partners


def _assert_same_masks(found: np.ndarray, expected: np.ndarray) -> None:
    if expected.dtype == np.uint8:  # packed for the recording
        found, expected = np.unpackbits(found, axis=-1), np.unpackbits(expected, axis=-1)
    assert (found == expected).mean() >= 0.999


def fingerprint(model: RCNN) -> np.ndarray:
    """Returns float64[parameters and buffers], which tells whether two models hold equal weights.

    numpy promises the bits of its generators for ever, but not what it makes of them.
    """
    return np.array([tensor.double().abs().sum().item() for tensor in model.state_dict().values()])


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
