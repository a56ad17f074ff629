"""Suppression in groups against torchvision's and against a greedy loop, in all three ways."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.detection import nms
from resnet_backbone.detection.nms import _at_most, _by_rounds, suppress

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def by_rounds(boxes, scores, valid, threshold):
    """What runs on a GPU without the kernel."""
    return ranked_first(_by_rounds, boxes, scores, valid, threshold)


def ranked_first(function, boxes, scores, valid, threshold):
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranked = boxes.gather(1, order[..., None].expand_as(boxes))
    kept = function(ranked, valid.sum(dim=1), _at_most(threshold))
    return torch.zeros_like(valid).scatter_(1, order, kept)


def greedy(boxes, scores, valid, threshold):
    """Best first; a box stays unless one that stayed before overlaps it too much."""
    kept = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if not valid[index]:
            continue
        overlaps = torchvision.ops.box_iou(boxes[index : index + 1], boxes[kept])
        if not (overlaps.double() > threshold).any():
            kept.append(index)
    return sorted(kept)


def whole_boxes(seed, groups=3, count=25):
    """Whole coordinates and few scores: many ties, boxes without area, and equal boxes."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 20, (groups, count, 2), generator=generator)
    side = torch.randint(0, 18, (groups, count, 2), generator=generator)
    scores = torch.randint(0, 30, (groups, count), generator=generator).float()
    valid = torch.rand(groups, count, generator=generator) > 0.2
    valid[-1] = False
    return torch.cat((corner, corner + side), dim=2).float(), scores, valid


@pytest.mark.parametrize("function", [suppress, by_rounds])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_equals_a_greedy_loop(function, seed, threshold):
    boxes, scores, valid = whole_boxes(seed)
    kept = function(boxes, scores, valid, threshold)
    for group in range(len(boxes)):
        expected = greedy(boxes[group], scores[group], valid[group], threshold)
        assert kept[group].nonzero()[:, 0].tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.sampled_from([0.05, 0.5, 0.7]))
def test_rounds_equal_torchvision(seed, count, threshold):
    """Boxes as a detector finds them: many around a few objects, at fractions of pixels."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(4, 1, 5, 2, generator=generator) * 60
    centre = centre.expand(4, 12, 5, 2).flatten(1, 2)[:, :count]
    centre = centre + torch.randn(*centre.shape, generator=generator) * 4
    half = 8 + torch.rand(*centre.shape, generator=generator) * 10
    boxes = torch.cat((centre - half, centre + half), dim=2)
    scores, valid = torch.rand(boxes.shape[:2], generator=generator), torch.ones(4, len(boxes[0]))
    kept = by_rounds(boxes, scores, valid.bool(), threshold)
    for group in range(4):
        expected = torchvision.ops.nms(boxes[group], scores[group], threshold).sort().values
        assert torch.equal(kept[group].nonzero()[:, 0], expected)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_float32_is_compared_as_torchvision_does_on_a_cpu(threshold):
    limit = _at_most(threshold)
    assert limit <= threshold and np.float32(limit) == limit
    above = np.nextafter(np.float32(limit), np.float32(2.0))
    assert float(above) > threshold


def test_a_chain_takes_as_many_rounds_as_it_has_links():
    """Each box overlaps its neighbours alone: every second one remains, known one by one."""
    x0 = torch.arange(300.0) * 6
    boxes = torch.stack((x0, torch.zeros(300), x0 + 10, torch.full((300,), 9.0)), dim=1)[None]
    kept = by_rounds(boxes, -x0[None], torch.ones(1, 300, dtype=torch.bool), 0.2)
    assert kept[0].tolist() == [True, False] * 150


@pytest.mark.parametrize("function", [suppress, by_rounds])
@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0), (2, 5)])
def test_nothing_in_nothing_out(function, shape):
    valid = torch.zeros(shape, dtype=torch.bool)
    assert torch.equal(function(torch.zeros(*shape, 4), torch.zeros(shape), valid, 0.5), valid)


def test_groups_are_compared_in_parts_that_fit_into_memory(monkeypatch):
    boxes, scores, valid = whole_boxes(0, groups=7)
    expected = suppress(boxes, scores, valid, 0.5)
    for pairs in (1, 25**2, 2 * 25**2 + 1):
        monkeypatch.setattr(nms, "_PAIRS", pairs)
        assert torch.equal(by_rounds(boxes, scores, valid, 0.5), expected)


def test_a_kernel_that_does_not_work_is_told_once_and_not_used(monkeypatch, caplog):
    nms._kernel_works.cache_clear()
    monkeypatch.setitem(sys.modules, "resnet_backbone.detection.nms_kernel", None)
    for _ in range(2):
        assert not nms._kernel_works(torch.device("cpu"))
    (record,) = caplog.records
    assert "its kernel does not work here: ModuleNotFoundError" in record.getMessage()
    nms._kernel_works.cache_clear()


INTERPRETED = """
import torch
from test_nms import ranked_first, whole_boxes
from resnet_backbone.detection import nms
from resnet_backbone.detection.nms_kernel import suppress_ranked
for seed, threshold in ((0, 0.3), (1, 0.5), (2, 0.0), (3, 0.7)):
    case = *whole_boxes(seed), threshold
    assert torch.equal(ranked_first(suppress_ranked, *case), nms.suppress(*case)), (seed, threshold)
nothing = suppress_ranked(torch.zeros(0, 4, 4), torch.zeros(0, dtype=torch.int64), 0.5)
assert nothing.shape == (0, 4)
assert nms._kernel_works(torch.device("cpu"))
"""


@needs_triton
def test_the_kernel_equals_torchvision_where_triton_interprets_it():
    root = Path(__file__).parents[2]
    paths = [str(root), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, "-c", INTERPRETED], env=env, check=True, timeout=300)


@needs_triton
@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize("block", [16, 2048, 16384])
def test_the_kernel_compiles_for_gpus(capability, block, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from resnet_backbone.detection.nms_kernel import _suppress

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    signature = {"ranked": "*fp32", "counts": "*i64", "kept": "*i8", "size": "i32"}
    signature |= {"threshold": "fp32", "BLOCK": "constexpr"}
    source = ASTSource(fn=_suppress, signature=signature, constexprs={"BLOCK": block})
    options = {"num_warps": min(32, max(1, block // 256)), "enable_fp_fusion": False}
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    # In full precision, as torchvision on a CPU; 48 KB are there without asking.
    assert "div.rn.f32" in made.asm["ptx"] and "fma." not in made.asm["ptx"]
    assert made.metadata.shared < 48 * 1024
