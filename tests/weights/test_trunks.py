"""The network among a file's tensors: real modules of the field, wrapped as scripts wrap them."""

import pytest
import torch
import torchvision
from torch import nn

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.layouts import to_ours
from resnet_backbone.weights.recognise import networks_like
from resnet_backbone.weights.stored import backbone_in
from resnet_backbone.weights.trunks import (
    anchors_in,
    chosen_prefix,
    dotted_prefixes,
    is_follower,
    split_below,
    with_stage_names,
)

ONE = torch.ones(1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return torchvision.models.resnet18()


@pytest.fixture(scope="module")
def state(net):
    return net.state_dict()


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("prefixes", "others"),
    [
        (["model."], {"criterion.weight": ONE}),  # Lightning, with a loss that has weights
        (["timm_model."], {"head.weight": ONE}),
        (["_backbone."], {}),  # transformers' TimmBackbone
        (["model.backbone.conv_encoder.model._backbone."], {"class_labels_classifier.bias": ONE}),
        (["body."], {"fpn.inner_blocks.0.0.weight": ONE}),  # torchvision's resnet_fpn_backbone
        (["backbone.0.body."], {"class_embed.weight": ONE}),  # DETR
        (["encoder_q.0.", "encoder_k.0."], {"encoder_q.1.weight": ONE, "queue": ONE}),
        (["encoder."], {"decoder.0.weight": ONE}),
        (["online_encoder.net.", "target_encoder.net."], {"online_predictor.0.weight": ONE}),
        (["teacher.net.", "student.net."], {}),
        (["ema_model.net.", "model.net."], {}),
    ],
)
def test_the_network_is_found_below_its_prefix(state, prefixes, others):
    content = {name: t for prefix in prefixes for name, t in under(prefix, state).items()}
    leader = next(prefix for prefix in prefixes if not is_follower(prefix))
    expected = {n.removeprefix(leader): t for n, t in content.items() if n.startswith(leader)}
    found = to_ours(content | others, "f")
    assert found.kind == "backbone" and found.layout == "torchvision"
    assert {n: t.data_ptr() for n, t in found.tensors.items()} == {
        n: t.data_ptr() for n, t in expected.items()
    }


def test_what_is_taken_and_left_is_said(state, caplog):
    to_ours(under("model.", state) | {"criterion.weight": ONE}, "w.pth")
    assert "w.pth: took the backbone of 122 tensors below 'model.'; 1 others are not" in caplog.text


def test_an_average_beside_a_known_layout_is_left_out(state, caplog):
    found = to_ours(under("backbone.", state) | under("ema_backbone.", state), "f")
    assert networks_like(found.tensors) == ["resnet18"]
    assert not any(name.startswith("ema") for name in found.tensors)
    assert caplog.text.count("the averaged network below ema_backbone. is not used") == 1


def test_our_plug_in_below_a_pyramid_is_a_detector_of_detectron2(state):
    content = under("backbone.bottom_up.net.", state) | {"backbone.fpn_lateral2.weight": ONE}
    found = to_ours(content, "f")
    assert (found.kind, found.layout) == ("detector", "detectron2")
    backbone = backbone_in(found.tensors, found.kind)
    assert {n: t.data_ptr() for n, t in backbone.items()} == {
        n: t.data_ptr() for n, t in state.items()
    }


@pytest.mark.parametrize(
    "build",
    [
        torchvision.models.detection.retinanet_resnet50_fpn,
        torchvision.models.detection.fcos_resnet50_fpn,
        torchvision.models.segmentation.fcn_resnet50,
    ],
)
def test_other_designs_give_their_backbone(build):
    with torch.device("meta"):
        model = build(weights=None, weights_backbone=None)
    found = to_ours(model.state_dict(), "f")
    assert networks_like(backbone_in(found.tensors, found.kind)) == ["resnet50"]


def test_a_whole_detector_below_a_prefix_stays_whole():
    with torch.device("meta"):
        model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None
        )
    found = to_ours(under("model.", model.state_dict()) | {"criterion.weight": ONE}, "f")
    assert (found.kind, found.layout) == ("detector", "torchvision")
    assert "roi_heads.predictor.classifier.weight" in found.tensors
    assert list(found.ignored) == ["criterion.weight"]


@pytest.mark.parametrize(("end", "prefix"), [(-1, ""), (-2, "f."), (None, ""), (-3, "net.")])
def test_numbered_children_of_sequential(net, state, end, prefix):
    children = list(net.children())[:end]
    found = to_ours(under(prefix, nn.Sequential(*children).state_dict()), "f").tensors
    dropped = {-1: "fc.", -2: "fc.", -3: ("fc.", "layer4."), None: "no name"}[end]
    expected = {name: t for name, t in state.items() if not name.startswith(dropped)}
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_numbers_that_are_no_stages_stay():
    content = {"0.weight": torch.ones(2), "4.0.conv1.weight": torch.ones(1)}  # a norm first
    assert with_stage_names(content) == content
    content = {"0.weight": torch.ones(1, 1, 1, 1), "7.0.conv1.weight": torch.ones(1)}
    assert list(with_stage_names(content)) == list(content)


def test_several_networks_are_refused_by_their_prefixes(state):
    with pytest.raises(WeightsError, match=r"f: holds 2 networks, below left\., right\.; save one"):
        to_ours(under("left.", state) | under("right.", state), "f")


def test_names():
    assert anchors_in(["a.layer1.0.conv1.weight", "blayer1.0.conv1.weight"]) == {
        "a.": "a.layer1.0.conv1.weight"
    }
    assert chosen_prefix(["ema."], "f") == "ema."  # where there is nothing else
    assert list(dotted_prefixes("a.b.")) == ["a.", "a.b."]
    assert split_below({"a.b": ONE, "c": ONE}, "a.") == ({"b": ONE}, {"c": ONE})
