"""detectron2's checkpoints of whole detectors, read by us: its detections, from a file."""

from __future__ import annotations

import pickle

import peers
import pytest
import torch
from parity_cases import CASES, assert_same, our_numbers

from resnet_backbone.config.load import load_config
from resnet_backbone.errors import ConfigError
from resnet_backbone.tasks.detection.trained import load_trained

pytest.importorskip(
    "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
)
from detectron2_numbers import CONFIGS, their_numbers

MSRA = ("INPUT.FORMAT", "BGR", "MODEL.RESNETS.STRIDE_IN_1X1", True)
PIXELS = ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0])


def zoo_file(model, path):
    """Writes what detectron2's model zoo holds: a pickle of numpy arrays."""
    content = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    path.write_bytes(pickle.dumps({"model": content, "__author__": "Detectron2 Model Zoo"}))
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_zoo_file_gives_detectron2s_detections(case, tmp_path):
    """Its pixels are BGR, and its stride is in the 1x1, which the file's card says."""
    donor = case.model()
    theirs = peers.build_detectron2(case.name, donor, str(CONFIGS), (*case.options, *MSRA, *PIXELS))
    for name, parameter in theirs.named_parameters():
        if name.endswith("stem.conv1.weight"):
            parameter.data.div_(58)  # as the pixels are not divided by their deviation
    path = zoo_file(theirs, tmp_path / "model_final_a1b2c3.pkl")
    ours = load_trained(path, load_config(case.name, list(case.overrides)))
    assert ours.cfg.model.pixels.channel_order == "BGR"
    assert ours.cfg.model.backbone.stride_in_1x1 is True
    assert ours.names_known is False

    batch = case.batch(ours.model)
    inputs = peers.detectron2_inputs(batch, training=False)
    for record in inputs:
        record["image"] = record["image"].flip(0)
    assert_same(our_numbers(ours.model, batch), their_numbers(theirs, inputs))


def test_an_unknown_file_needs_the_facts(tmp_path):
    case = CASES[0]
    theirs = peers.build_detectron2(case.name, case.model(), str(CONFIGS))
    path = tmp_path / "mine.pth"
    torch.save({"model": theirs.state_dict(), "iteration": 7}, path)
    with pytest.raises(ConfigError, match="set model.backbone.stride_in_1x1, model.pixels.channel"):
        load_trained(path, load_config(case.name))
