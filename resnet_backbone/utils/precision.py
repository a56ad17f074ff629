"""Mixed precision: in which type a device computes the layers, and where that is faster.

Autocast computes convolutions and matrix products in 16 bits; their results stay so between layers.
Weights, gradients and the optimizer are float32, and so is what 8 or 11 bits of precision would
spoil: norms' statistics, losses, boxes, non-maximum suppression, RoIAlign's coordinates.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from resnet_backbone.errors import ConfigError

Amp = Literal["auto", "bf16", "fp16", "off"]  # the values of solver.amp
Settled = Literal["bf16", "fp16", "off"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}
KEY = "solver.amp"

logger = logging.getLogger(__name__)


def autocast(amp: Amp, device: torch.device) -> AbstractContextManager[None]:
    """Returns the context in which layers compute as `amp` says.

    Raises:
        ValueError: `amp` is "auto", which a run settles before its first step, for all ranks alike.
    """
    if amp not in _DTYPES:
        raise ValueError(f"{KEY} is {amp}: settle it first")
    dtype = _DTYPES[amp]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def for_inference(amp: Amp, device: torch.device) -> Settled:
    """Returns the precision in which to evaluate what was, or would be, trained with `amp`.

    float32 where the device gains nothing from bf16, and after training in fp16, whose range is too
    small to go without the loss scale's watch over it.
    """
    return "bf16" if amp in ("auto", "bf16") and has_fast_bf16(device) else "off"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16()


def check(amp: Amp, device: torch.device) -> None:
    """Raises ConfigError if the device cannot train with `amp`."""
    if amp == "fp16" and device.type == "cpu":
        raise ConfigError(f"{KEY} is fp16, which needs a GPU; set {KEY}=auto, bf16 or off")
    if amp == "bf16" and device.type == "cuda" and not has_fast_bf16(device):
        raise ConfigError(
            f"{KEY} is bf16, which {torch.cuda.get_device_name(device)} does not have; "
            f"set {KEY}=fp16 or off"
        )


def log_precision(amp: Amp) -> None:
    """Logs that not everything is computed in float32, and the key that changes it."""
    names = {"bf16": "bfloat16", "fp16": "float16"}
    if amp in names:
        text = "layers compute in %s, losses and boxes in float32; %s=off: everything in float32"
        logger.info(text, names[amp], KEY)


def _cpu_has_bf16() -> bool:
    """Whether the processor has AVX512-BF16, as all have that have AMX; oneDNN uses both.

    Where it has only AVX-512, oneDNN computes bfloat16 too, but by converting to float32 and back.
    ARM's instructions do not count: nothing was measured there.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return bool(capabilities().get("avx512_bf16", False))
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # the only way in torch 2.11
    return older is not None and bool(older())
