"""Names that commands offer; they stand here so that `--help` need not wait for torch."""

from __future__ import annotations

# The keys of `weights.targets.TARGETS`, and `weights.convert.OURS`.
CONVERT_TARGETS = (
    "torchvision",
    "timm",
    "detectron2",
    "mmpretrain",
    "mmdet",
    "transformers",
    "safetensors",
)

# The keys of `paper.reproduce.EXHIBITS`.
EXHIBITS = (
    "figure1",
    "table1",
    "figure3",
    "figure4",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "figure6",
    "figure7",
    "gradients",
    "table7",
    "table8",
)
