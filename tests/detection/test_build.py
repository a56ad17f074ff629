"""What the configuration says is what the detector is made of."""

import pytest
import torch
from tiny_rcnn import tiny_batch, tiny_config, tiny_detector

from resnet_backbone.config.load import load_config
from resnet_backbone.config.schema import Config
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import ConfigError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.files import read_metadata, save_weights

ONE_MAP = {"anchors": {"sizes": ((16.0, 32.0, 64.0),)}}


def build(num_classes=3, **model):
    return build_detector(tiny_config(**model), num_classes)


@pytest.mark.parametrize(
    ("architecture", "strides", "pooled", "mask_resolution"),
    [
        ("fpn", (4, 8, 16, 32, 64), (4, 8, 16, 32), 28),
        ("dc5", (16,), (16,), 28),
        ("c4", (16,), (16,), None),
    ],
)
def test_strides_of_proposals_and_of_pooled_maps(architecture, strides, pooled, mask_resolution):
    options = {} if architecture == "fpn" else {"rpn": ONE_MAP}
    model = build(architecture=architecture, **options)
    assert model.rpn.anchors.strides == strides
    assert model.roi_heads.box_pooler.align.strides == pooled
    if mask_resolution is None:
        assert model.roi_heads.mask_pooler is None
    else:
        assert 2 * model.roi_heads.mask_pooler.align.resolution == mask_resolution
    maps = model.neck(model.backbone(torch.zeros(1, 3, 128, 128)))
    assert [128 // m.shape[-1] for m in maps] == list(strides)


def test_every_number_of_the_configuration_arrives():
    rpn = {
        "iou_thresholds": (0.2, 0.6),
        "samples_per_image": 11,
        "positive_fraction": 0.4,
        "pre_nms_topk_train": 21,
        "pre_nms_topk_test": 22,
        "post_nms_topk_train": 23,
        "post_nms_topk_test": 24,
        "nms_threshold": 0.65,
        "min_box_size": 1.5,
    }
    roi = {
        "samples_per_image": 12,
        "positive_fraction": 0.35,
        "iou_threshold": 0.55,
        "score_threshold": 0.15,
        "nms_threshold": 0.45,
        "detections_per_image": 13,
    }
    model = build(rpn=rpn, roi=roi | {"box_weights": (1.0, 2.0, 3.0, 4.0)})
    pairs = ("pre_nms_topk", "post_nms_topk")
    single = {name: value for name, value in rpn.items() if not name.startswith(pairs)}
    assert {name: getattr(model.rpn, name) for name in single} == single
    assert (model.rpn.pre_nms_topk, model.rpn.post_nms_topk) == ((21, 22), (23, 24))
    assert vars(model.roi_heads.settings) == roi
    assert model.roi_heads.predictor.offset_weights == (1.0, 2.0, 3.0, 4.0)


def test_the_class_count_comes_from_either_side():
    assert build_detector(tiny_config(), 5).num_classes == 5
    assert build_detector(tiny_config(num_classes=4)).num_classes == 4
    assert build_detector(tiny_config(num_classes=4), 4).num_classes == 4


def test_a_class_count_that_is_contradicted_or_unknown_is_an_error():
    with pytest.raises(ConfigError, match=r"num_classes is 4, but the annotations have 3"):
        build_detector(tiny_config(num_classes=4), 3)
    with pytest.raises(ConfigError, match=r"num_classes is not set"):
        build_detector(tiny_config())


def test_maps_with_unequally_many_anchors_are_an_error_that_names_the_key():
    sizes = ((8.0,), (16.0,), (32.0,), (64.0,), (128.0, 256.0))
    with pytest.raises(ConfigError, match=r"model\.rpn\.anchors\.sizes: all feature maps"):
        build(rpn={"anchors": {"sizes": sizes}})


def test_the_number_of_size_lists_is_refused_before_anything_is_built():
    with pytest.raises(ValueError, match="has 2 lists, expected 1 or 5 for architecture fpn"):
        Config.model_validate({"model": {"rpn": {"anchors": {"sizes": ((8.0,), (16.0,))}}}})


def test_convolutions_are_channels_last_and_everything_is_float32():
    model = build()
    wide = [p for p in model.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_weights_that_cannot_be_read_are_an_error(tmp_path):
    backbone = {"name": "resnet18", "weights": str(tmp_path / "none.safetensors")}
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        build(backbone=backbone)


def test_faster_rcnn_has_no_mask_branch():
    model = build(mask=False)
    assert model.roi_heads.mask_head is None
    assert model.roi_heads.mask_pooler is None


def test_the_same_seed_gives_the_same_detector():
    cfg = load_config("quickstart.yaml")
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build_detector(cfg, 3).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("architecture", ["fpn", "c4"])
def test_torchvisions_file_fills_all_53_convolutions_of_a_detector(tmp_path, architecture):
    """detectron2 loads none of them and only warns; C4 has nine of them in its head."""
    import torchvision

    torch.manual_seed(1)
    reference = torchvision.models.resnet50()
    path = tmp_path / "resnet50-0676ba61.pth"
    torch.save(reference.state_dict(), path)
    cfg = load_config(
        "coco_frcnn_r50_c4" if architecture == "c4" else "coco_frcnn_r50",
        [f"model.weights={path}", "model.num_classes=3"],
    )
    state = build_detector(cfg).state_dict()
    for head in ("roi_heads.box_pooler.res5.", "backbone.layer4."):
        if any(name.startswith(head) for name in state):
            state |= {f"layer4.{n.removeprefix(head)}": t for n, t in state.items() if head in n}
    own = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    convolutions = [
        f"{name}.weight" for name, m in reference.named_modules() if isinstance(m, torch.nn.Conv2d)
    ]
    assert len(convolutions) == 53
    expected = reference.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in convolutions)


@pytest.fixture
def donor(tmp_path):
    """A whole detector in a file that carries its card."""
    model = build()
    card = WeightsCard(channel_order="RGB", mean=(1, 2, 3), std=(4, 5, 6))
    save_weights(model, tmp_path / "detector.safetensors", card)
    return model.state_dict(), str(tmp_path / "detector.safetensors")


def test_training_can_start_from_a_whole_detector(donor):
    state, path = donor
    model = build(weights=path, pixels={})
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]


def test_of_another_class_count_all_but_the_class_layers_are_loaded(donor, caplog):
    state, path = donor
    model = build(num_classes=7, weights=path, pixels={})
    classes = ("roi_heads.predictor.", "roi_heads.mask_head.predictor.")
    for name, tensor in model.state_dict().items():
        if not name.startswith((*classes, "pixel_")):
            assert torch.equal(tensor, state[name]), name
    assert len(model.state_dict()["roi_heads.predictor.classifier.bias"]) == 8
    assert "the file has 3 classes, the model 7; drawn at random: 6 tensors, " in caplog.text
    with pytest.raises(WeightsError, match=r"of another shape: roi_heads\.predictor"):
        build(num_classes=7, weights=path, pixels={}, class_layers="copy")
    patterns = ("roi_heads.predictor.*", "roi_heads.mask_head.predictor.*")
    model = build(
        num_classes=7, weights=path, pixels={}, class_layers="copy", allow_partial=patterns
    )
    assert torch.equal(model.state_dict()["rpn.conv.weight"], state["rpn.conv.weight"])


def test_class_layers_of_other_classes_are_copied_only_if_asked(donor, tmp_path, caplog):
    state, path = donor
    text = read_metadata(path) | {"class_names": '["cat", "dog", "owl"]'}
    save_weights(state, tmp_path / "named.safetensors", text)
    cases = (("auto", "cow", False), ("auto", "dog", True), ("copy", "cow", True))
    for mode, second, copied in cases:
        cfg = tiny_config(weights=str(tmp_path / "named.safetensors"), pixels={}, class_layers=mode)
        own = build_detector(cfg, 3, class_names=("cat", second, "owl")).state_dict()
        name = "roi_heads.predictor.classifier.weight"
        assert torch.equal(own[name], state[name]) is copied
    assert caplog.text.count("1 of 3 classes have other names: 'dog' for 'cow'") == 1


@pytest.mark.parametrize("mode", ["auto", "copy"])
def test_classes_in_another_order_are_matched_by_name(donor, tmp_path, caplog, mode):
    text = read_metadata(donor[1]) | {"class_names": '["cat", "dog", "owl"]'}
    save_weights(tiny_detector(), tmp_path / "named.safetensors", text)
    cfg = tiny_config(weights=str(tmp_path / "named.safetensors"), pixels={}, class_layers=mode)
    caplog.set_level("INFO")
    with torch.no_grad():
        found = {
            names: build_detector(cfg, 3, class_names=names).eval().detect(tiny_batch([1]))[0]
            for names in (("cat", "dog", "owl"), ("owl", "cat", "dog"))
        }
    (first, expected), (second, actual) = found.items()
    labels = [first.index(second[c]) for c in actual.classes]
    assert labels == expected.classes.tolist() != actual.classes.tolist()
    torch.testing.assert_close(actual.boxes, expected.boxes)
    torch.testing.assert_close(actual.scores, expected.scores)
    assert caplog.text.count("its 3 classes are in another order than the model's") == 1


def test_classes_without_names_are_taken_in_order_and_said(donor, caplog):
    state, path = donor
    cfg = tiny_config(weights=str(path), pixels={})
    own = build_detector(cfg, 3, class_names=("cat", "dog", "owl")).state_dict()
    name = "roi_heads.predictor.classifier.weight"
    assert torch.equal(own[name], state[name])
    message = "does not name its classes; its class layers are taken in the order of the model's 3:"
    assert caplog.text.count(message) == 1


def test_a_backbone_given_as_the_detectors_weights_is_one(tmp_path):
    net = create_backbone("resnet18", norm="BN")
    card = WeightsCard(channel_order="BGR", mean=(1, 2, 3), std=(4, 5, 6))
    save_weights(net, tmp_path / "r18.safetensors", card)
    model = build(weights=str(tmp_path / "r18.safetensors"), pixels={})
    assert model.channel_order == "BGR"
    assert torch.equal(model.backbone.layer4[1].conv2.weight, net.layer4[1].conv2.weight)
