"""Where among a file's tensors the network is: below which prefix, and beside what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.text import listing

# The first convolution of the first block, as the layouts call it.
_ANCHORS = (
    "layer1.0.conv1.weight",
    "res2.0.conv1.weight",
    "stages.0.blocks.0.conv1.weight",
    "stages_0.blocks.0.conv1.weight",
    "encoder.stages.0.layers.0.layer.0.convolution.weight",
)
# Networks that follow another one: averages, and copies that no gradient reaches. Distillation is
# the exception, where the teacher is the better network.
_FOLLOWERS = re.compile(
    r"(?:^|[._])(?:ema|average|averaged|shadow|momentum|target|student|key|encoder_k)(?:[._]|$)"
)
_NUMBERED = re.compile(r"((?:.*\.)?)(\d{1,2})\.0\.conv1\.weight")
_STEM_CHILDREN = (3, 4)  # convolution, norm, ReLU and, where there is one, pooling


def anchors_in(names: Collection[str]) -> dict[str, str]:
    """Returns the prefix of every network among `names`, "" for one without, and its anchor.

    The anchor is the full name of the first convolution of its first block.
    """
    found = {}
    for name in names:
        for anchor in _ANCHORS:
            prefix = name.removesuffix(anchor)
            if prefix != name and (not prefix or prefix.endswith(".")):
                found[prefix] = name
    return found


def is_follower(prefix: str) -> bool:
    """Returns whether a prefix is that of an average or of a copy that is not trained itself."""
    return _FOLLOWERS.search(prefix) is not None


def chosen_prefix(prefixes: Collection[str], source: str) -> str:
    """Returns the prefix of the network to take: the one that was trained by gradients.

    Raises:
        WeightsError: there is more than one of those.
    """
    leaders = [prefix for prefix in prefixes if not is_follower(prefix)] or list(prefixes)
    if len(leaders) > 1:
        raise WeightsError(
            f"{source}: holds {len(leaders)} networks, below {listing(leaders)}; save one of them"
            " alone"
        )
    return leaders[0]


def split_below(
    tensors: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the tensors whose names start with `prefix`, without it, and the others."""
    below = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return below, {n: tensor for n, tensor in tensors.items() if not n.startswith(prefix)}


def dotted_prefixes(prefix: str) -> Iterator[str]:
    """Yields "a.", "a.b." for "a.b."."""
    for match in re.finditer(r"\.", prefix):
        yield prefix[: match.end()]


def with_stage_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives torchvision's names to the numbered children of an nn.Sequential.

    `nn.Sequential(*resnet.children())` is 0 for conv1, 1 for bn1, 4 to 7 for layer1 to layer4 and 9
    for fc; the CIFAR networks have no pooling, so that layer1 is 3.
    """
    stages: dict[str, set[int]] = defaultdict(set)
    for name in tensors:
        if name.endswith(".0.conv1.weight") and (found := _NUMBERED.fullmatch(name)):
            stages[found[1]].add(int(found[2]))
    renamed = dict(tensors)
    for prefix, numbers in stages.items():
        first, count = min(numbers), len(numbers)
        consecutive = numbers == set(range(first, first + count))
        stem = renamed.get(f"{prefix}0.weight", renamed.get(f"{prefix}0.0.weight"))
        if first in _STEM_CHILDREN and consecutive and stem is not None and stem.dim() == 4:
            names = {"0": "conv1", "1": "bn1"}
            names |= {str(first + i): f"layer{i + 1}" for i in range(count)}
            names |= _classifier(renamed, prefix, first + count)
            renamed = {_renamed(name, prefix, names): t for name, t in renamed.items()}
    return renamed


def _classifier(tensors: Mapping[str, Tensor], prefix: str, after: int) -> dict[str, str]:
    """Returns the number of the linear layer behind pooling and, perhaps, flattening."""
    for number in (after + 1, after + 2):
        weight = tensors.get(f"{prefix}{number}.weight")
        if weight is not None and weight.dim() == 2:
            return {str(number): "fc"}
    return {}


def _renamed(name: str, prefix: str, names: Mapping[str, str]) -> str:
    if not name.startswith(prefix):
        return name
    child, dot, rest = name.removeprefix(prefix).partition(".")
    return f"{prefix}{names.get(child, child)}{dot}{rest}"
