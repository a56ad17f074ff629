import json

import pytest
import torch
from tiny_rcnn import CATEGORY_IDS, CLASS_NAMES, tiny_batch, tiny_config, tiny_detector

from resnet_backbone.create import create_backbone
from resnet_backbone.detection.settle import settle_detector
from resnet_backbone.errors import WeightsError
from resnet_backbone.tasks.detection.trained import load_trained
from resnet_backbone.weights.files import save_weights


def card(cfg, **changes):
    content = {
        "config": cfg.model_dump_json(),
        "class_names": json.dumps(CLASS_NAMES),
        "category_ids": json.dumps(CATEGORY_IDS),
    }
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


@pytest.fixture(scope="module")
def model():
    return tiny_detector().eval()


@pytest.fixture
def save(tmp_path, model):
    def write(name="model.safetensors", **changes):
        path = tmp_path / name
        save_weights(model, path, card(settle_detector(tiny_config()), **changes))
        return path

    return write


def test_the_file_alone_is_enough(save, model):
    trained = load_trained(save())
    assert trained.class_names == CLASS_NAMES
    assert trained.category_ids == CATEGORY_IDS
    assert trained.cfg == settle_detector(tiny_config())
    assert not trained.model.training
    batch = tiny_batch([1, 2])
    for own, other in zip(model.detect(batch), trained.model.detect(batch), strict=True):
        assert len(own) > 0
        assert torch.equal(own.boxes, other.boxes)
        assert torch.equal(own.masks, other.masks)


def test_keys_that_select_detections_may_differ(save):
    roi = tiny_config().model.roi.model_dump() | {"score_threshold": 0.7}
    backbone = {"name": "resnet18", "norm": "BN", "freeze_at": 2, "weights": "elsewhere.pth"}
    trained = load_trained(save(), tiny_config(roi=roi, backbone=backbone))
    assert trained.model.roi_heads.settings.score_threshold == 0.7


def test_every_contradiction_is_named(save):
    cfg = tiny_config(
        mask=False,
        pixels={"channel_order": "BGR", "mean": (1.0, 2.0, 3.0)},
        backbone={"name": "resnet18", "norm": "GN", "freeze_at": 0},
    )
    with pytest.raises(WeightsError) as caught:
        load_trained(save(), cfg)
    text = str(caught.value)
    assert "model.mask: False, but the weights were trained with True" in text
    assert "model.pixels.channel_order: 'BGR', but the weights were trained with 'RGB'" in text
    assert "model.pixels.mean: (1.0, 2.0, 3.0)" in text
    assert "model.backbone.norm: 'GN'" in text
    assert "score_threshold" not in text


def test_wrong_class_count_names_both_numbers(save):
    with pytest.raises(WeightsError, match="have 3 classes, but model.num_classes is 80"):
        load_trained(save(), tiny_config(num_classes=80))


def test_class_names_that_do_not_fit_the_tensors(save):
    with pytest.raises(WeightsError, match="have 3 classes, but the file has 2 class names"):
        load_trained(save(class_names='["a", "b"]'))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": "[1, "}, "cannot read its class_names: Invalid JSON"),
        ({"category_ids": "{}"}, "cannot read its category_ids: Input should be a valid array"),
        ({"config": '{"modle": 1}'}, "cannot read its config: modle: Extra inputs"),
        ({"config": None}, "contains no configuration"),
    ],
)
def test_damaged_cards(save, changes, message):
    with pytest.raises(WeightsError, match=message):
        load_trained(save(**changes))


def test_files_without_a_card_need_a_configuration(tmp_path, model):
    path = tmp_path / "model.pth"
    torch.save(model.state_dict(), path)
    with pytest.raises(WeightsError, match="contains no configuration"):
        load_trained(path)
    trained = load_trained(path, tiny_config())
    assert trained.class_names == ("class 0", "class 1", "class 2")


def test_a_file_that_is_no_detector(tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_weights(create_backbone("resnet18"), path, {})
    with pytest.raises(WeightsError, match="not a detector"):
        load_trained(path, tiny_config())
