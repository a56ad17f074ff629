"""Names and shapes of the tensors of other frameworks' own classes, recorded from these.

`assets/framework_names.json.xz` was written by instantiating the classes of mmpretrain 1.2.0 and
mmdet 3.3.0 (backbones/resnet.py, seresnet.py, resnext.py; detectors by configs/_base_/models),
detectron2 0.6 (build_resnet_backbone; detectors by its configs) and transformers 5.24.0
(ResNetForImageClassification), which are not installed with the tests. OpenMMLab's backbones have
the prefix that they have in a classifier or detector; its classifiers' head.fc is not recorded.
A key is a network of ours, with " GN" for group norms and " res5" for deformable convolutions
there.
"""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path

PATH = Path(__file__).parents[1] / "assets" / "framework_names.json.xz"
Shapes = dict[str, list[int]]


@functools.cache
def recorded(kind: str) -> dict[str, dict[str, Shapes]]:
    """Returns framework -> network -> name -> shape, of "backbones" or "detectors"."""
    return json.loads(lzma.decompress(PATH.read_bytes()))[kind]
