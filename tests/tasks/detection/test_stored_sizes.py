"""Sizes in a file's configuration, compared with its tensors before anything is built."""

import pytest
from tiny_rcnn import tiny_config, tiny_detector

from resnet_backbone.detection import build
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.errors import WeightsError
from resnet_backbone.tasks.detection.stored_sizes import refuse_other_sizes
from resnet_backbone.tasks.detection.trained import load_trained
from resnet_backbone.weights.files import save_weights
from resnet_backbone.weights.stored import read_weights


@pytest.fixture(scope="module")
def model():
    return tiny_detector().eval()


@pytest.fixture
def path(tmp_path, model):
    save_weights(model, tmp_path / "m.safetensors", {"class_names": '["a", "b", "c"]'})
    return tmp_path / "m.safetensors"


def changed(**sizes):
    model = tiny_config().model
    roi = {key: value for key, value in sizes.items() if key in type(model.roi).model_fields}
    rest = {key: value for key, value in sizes.items() if key not in roi}
    return tiny_config(**rest, roi=model.roi.model_dump() | roi)


@pytest.mark.parametrize(
    "key",
    [
        *("fpn_channels", "box_fc_dim", "box_fc_layers", "mask_conv_dim", "mask_conv_layers"),
        "box_pooler_resolution",
    ],
)
def test_any_other_size_is_refused_by_its_key(path, key):
    stored = read_weights(path)
    refuse_other_sizes(tiny_config().model, stored)
    with pytest.raises(WeightsError, match=rf"model\.(roi\.)?{key}.*, but the tensors have"):
        refuse_other_sizes(changed(**{key: 4096}).model, stored)


def test_anchors(path):
    rpn = {"anchors": {"sizes": ((8.0, 16.0, 32.0),), "aspect_ratios": (1.0,) * 5}}
    with pytest.raises(WeightsError, match=r"model\.rpn\.anchors \(per cell\): 15, but"):
        refuse_other_sizes(tiny_config(rpn=rpn).model, read_weights(path))


def test_nothing_is_built_from_a_size_that_the_tensors_do_not_have(tmp_path, model, monkeypatch):
    cfg = settle_detector(changed(fpn_channels=2**30))
    save_weights(model, tmp_path / "w.safetensors", {"config": cfg.model_dump_json()})
    monkeypatch.setattr(build, "build_trunk", None)
    with pytest.raises(WeightsError, match=r"model\.fpn_channels: 1073741824, but the tensors"):
        load_trained(tmp_path / "w.safetensors")


@pytest.mark.parametrize("architecture", ["c4", "dc5"])
def test_other_architectures_have_no_pyramid(tmp_path, architecture):
    rpn = {"anchors": {"sizes": ((16.0, 32.0),), "aspect_ratios": (1.0, 2.0)}}
    roi = {"box_fc_dim": 16, "box_pooler_resolution": 14 if architecture == "c4" else 7}
    cfg = tiny_config(architecture=architecture, mask=False, rpn=rpn, roi=roi)
    save_weights(build.build_detector(cfg, 3), tmp_path / "w.safetensors", {})
    refuse_other_sizes(cfg.model, read_weights(tmp_path / "w.safetensors"))
