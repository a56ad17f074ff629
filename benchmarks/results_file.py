"""Sections of benchmarks/RESULTS.md: one for each benchmark, and in it one for each processor."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("RESULTS.md")


def machine(device: str) -> str:
    """Returns the name of the GPU, or of the processor with its instructions for bf16, if any."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name, units = _field("model name") or platform.processor(), bf16_units()
    return f"{name} with {units}" if units else name


def bf16_units() -> str | None:
    """Returns the processor's fastest instructions for bfloat16, "AMX" or "AVX512-BF16", or None.

    oneDNN uses them without being asked to.
    """
    flags = (_field("flags") or "").split()
    if "amx_bf16" in flags:
        return "AMX"
    return "AVX512-BF16" if "avx512_bf16" in flags else None


def record(section: str, name: str, text: str) -> None:
    """Replaces what RESULTS.md has on a machine in a section, or adds it.

    Args:
        section: The section, between `<!-- section -->` and `<!-- end section -->`.
        name: The machine's name, see `machine`.
        text: The new text.
    """
    start, end = f"<!-- {section} -->", f"<!-- end {section} -->"
    before, _, rest = RESULTS.read_text().partition(start)
    inside, _, after = rest.partition(end)
    heading = f"#### {name}\n"
    others = [part.strip() for part in re.split(r"^(?=#### )", inside, flags=re.MULTILINE)]
    parts = [part for part in others if part and not part.startswith(heading)]
    content = "\n\n".join([*parts, f"{heading}\n{text.strip()}"])
    RESULTS.write_text(f"{before}{start}\n{content}\n{end}{after}")
    print(f"written to {RESULTS}")


def _field(name: str) -> str | None:
    """Returns a field of the first processor in /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return None
