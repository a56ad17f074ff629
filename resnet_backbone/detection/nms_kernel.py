"""A Triton kernel for greedy suppression, during which the host need not wait.

Each group is one program, which holds the group's boxes in registers and goes from one remaining
box to the next. Memory is linear in the number of boxes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@torch.library.custom_op("resnet_backbone::suppress_ranked", mutates_args=())
def suppress_ranked(ranked: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """Returns bool[G, N], true for the boxes that remain after suppression within each group.

    Args:
        ranked: float32[G, N, 4], xyxy; in each group the valid boxes first, by descending score.
        counts: int64[G], the number of valid boxes of each group.
        threshold: IoU above which the later box is removed.
    """
    groups, count = ranked.shape[:2]
    kept = torch.zeros(groups, count, dtype=torch.int8, device=ranked.device)
    if kept.numel():
        block = triton.next_power_of_2(count)
        _suppress[(groups,)](
            ranked.contiguous(),
            counts,
            kept,
            count,
            threshold,
            BLOCK=block,
            num_warps=min(32, max(1, block // 256)),
            # A fused multiplication and addition would round otherwise than torchvision on a CPU.
            enable_fp_fusion=False,
        )
    return kept.bool()


@suppress_ranked.register_fake
def _(ranked: Tensor, counts: Tensor, threshold: float) -> Tensor:
    return ranked.new_empty(ranked.shape[:2], dtype=torch.bool)


# Triton gives arguments its own types.
@triton.jit
def _suppress(  # type: ignore[no-untyped-def]  # noqa: ANN202
    ranked,  # noqa: ANN001
    counts,  # noqa: ANN001
    kept,  # noqa: ANN001
    size,  # noqa: ANN001
    threshold,  # noqa: ANN001
    BLOCK: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + group).to(tl.int32)
    slot = tl.arange(0, BLOCK)
    inside = slot < size
    first = ranked + group * size * 4
    x0 = tl.load(first + slot * 4, mask=inside, other=0.0)
    y0 = tl.load(first + slot * 4 + 1, mask=inside, other=0.0)
    x1 = tl.load(first + slot * 4 + 2, mask=inside, other=0.0)
    y1 = tl.load(first + slot * 4 + 3, mask=inside, other=0.0)
    area = (x1 - x0) * (y1 - y0)
    remains = slot < count
    best = 0
    while best < count:
        best_x0 = tl.load(first + best * 4)
        best_y0 = tl.load(first + best * 4 + 1)
        best_x1 = tl.load(first + best * 4 + 2)
        best_y1 = tl.load(first + best * 4 + 3)
        width = tl.maximum(tl.minimum(x1, best_x1) - tl.maximum(x0, best_x0), 0.0)
        height = tl.maximum(tl.minimum(y1, best_y1) - tl.maximum(y0, best_y0), 0.0)
        overlap = width * height
        union = (best_x1 - best_x0) * (best_y1 - best_y0) + area - overlap
        # Without overlap the union may be 0 as well.
        iou = tl.div_rn(overlap, tl.where(overlap > 0, union, 1.0))
        later = slot > best
        remains = remains & ~(later & (iou > threshold))
        best = tl.min(tl.where(later & remains, slot, count))
    tl.store(kept + group * size + slot, remains.to(tl.int8), mask=inside)
