"""The config.json beside a model of Hugging Face's hub, and what it says of transformers' ResNet.

transformers' ResNet has options that no shape shows: its activation, a stride in the first stage,
and the convolution that has the stride of a bottleneck.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_backbone.errors import WeightsError

_FILES = tuple(  # with the index of sharded ones
    f"{name}{suffix}"
    for name in ("model.safetensors", "pytorch_model.bin")
    for suffix in ("", ".index.json")
)
_MAX_CONFIG = 2**16  # bytes
# Settings of transformers' ResNetConfig, with the values that our networks compute.
_OURS = {"hidden_act": "relu", "downsample_in_first_stage": False}
_STRIDE = "downsample_in_bottleneck"


def config_beside(path: str | Path) -> dict[str, Any]:
    """Returns what the config.json beside a downloaded model says; empty if there is none."""
    path = Path(path)
    config = path.with_name("config.json")
    if path.name not in _FILES or not config.is_file():
        return {}
    with config.open("rb") as file:
        text = file.read(_MAX_CONFIG)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # it is not ours to judge
        return {}
    return content if isinstance(content, dict) else {}


def refuse_other_resnets(source: str, layout: str) -> None:
    """Raises WeightsError if transformers' ResNet was built as none of our networks is.

    Args:
        source: The path of the weights.
        layout: How the file names its tensors, see `weights.layouts`.
    """
    config = _resnet_config(source, layout) or {}
    for key, ours in _OURS.items():
        if config.get(key, ours) != ours:
            raise WeightsError(
                f"{source}: {key!r} in the config.json beside it is {config[key]!r:.100}, but our"
                f" networks compute {ours!r}; if the weights are of another network, move the file"
                " away from this config.json"
            )


def transformers_stride(source: str, layout: str) -> bool | None:
    """Returns whether the bottlenecks of transformers' ResNet stride in the 1x1 convolution.

    Args:
        source: The path of the weights.
        layout: How the file names its tensors, see `weights.layouts`.

    Returns:
        What the config.json beside the file says; None if there is none.
    """
    config = _resnet_config(source, layout)
    if config is None:
        return None
    stride = config.get(_STRIDE, False)  # transformers' default
    return stride if isinstance(stride, bool) else None


def _resnet_config(source: str, layout: str) -> Mapping[str, Any] | None:
    """Returns the settings of transformers' ResNet, alone or as the backbone of another model."""
    if layout != "transformers":
        return None
    config = config_beside(source)
    for each in (config, config.get("backbone_config")):
        if isinstance(each, dict) and each.get("model_type") == "resnet":
            return each
    return None
