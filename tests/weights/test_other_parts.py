"""Parts that a network lacks: heads are left out, parts of stages are refused unless named."""

import pytest
import torch
from tiny_rcnn import tiny_config, tiny_detector
from torch import nn

from resnet_backbone.create import create_backbone, create_res5
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.load import load_weights

ONE = torch.ones(3)


@pytest.fixture(scope="module")
def state():
    return dict(create_backbone("resnet18", norm="BN").state_dict())


@pytest.fixture
def save(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "w.pth")
        return tmp_path / "w.pth"

    return save


PARTS = {
    "CBAM in blocks": {"layer1.0.ca.fc1.weight": ONE, "layer1.0.sa.conv1.weight": ONE},
    "attention between stages": {"sa1.conv1.weight": ONE},
    "GC": {"layer3.1.context_block.conv_mask.weight": ONE},
    "an extra block": {"layer2.2.conv1.weight": ONE},
    "an extra stage": {"layer5.0.conv1.weight": ONE},
    "squeeze and excitation": {"layer1.0.se.fc1.weight": ONE},
    "a convolution's bias": {"layer1.0.conv1.bias": ONE},
    "the first convolution's bias": {"conv1.bias": ONE},
    "blur": {"layer2.0.downsample.2.filt": ONE},
    "offsets": {"layer4.0.conv2.offset.weight": ONE},
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_the_network_are_refused_and_may_be_named(state, save, part):
    net = create_backbone("resnet18")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    path = save(state | PARTS[part])
    with pytest.raises(WeightsError, match=r"parts that the network lacks: .*allow_extra=\["):
        load_weights(net, path)
    assert all(torch.equal(tensor, before[n]) for n, tensor in net.state_dict().items())
    report = load_weights(net, path, allow_extra=list(PARTS[part]))
    assert set(PARTS[part]) <= set(report.unexpected)
    assert torch.equal(net.conv1.weight, state["conv1.weight"])


def test_the_advice_can_be_followed(state, save):
    extra = {f"layer{s}.{b}.ca.fc.weight": ONE for s in (1, 2) for b in (0, 1)}
    path = save(state | extra)
    with pytest.raises(WeightsError, match=r"allow_extra=\['layer\*\.\*\.ca\.fc\.\*'\]"):
        create_backbone("resnet18", weights=path)
    create_backbone("resnet18", weights=path, allow_extra=["layer*.*.ca.fc.*"])


def test_a_deformable_network_into_a_plain_one(save):
    deformable = create_backbone("resnet18", deformable=("res4", "res5"), norm="BN")
    with pytest.raises(WeightsError, match=r"\(deformable=\['res4', 'res5'\]\)"):
        create_backbone("resnet18", weights=save(deformable.state_dict()))


def test_a_network_of_more_blocks_than_any_of_ours(save):
    """All that ResNet-18 needs is in it; no table knows its numbers of blocks."""
    larger = nn.ModuleDict({"m": create_backbone("resnet34", norm="BN")}).m.state_dict()
    larger = {n: t for n, t in larger.items() if not n.startswith("layer3.5.")}
    with pytest.raises(WeightsError, match=r"tensors? of parts that the network lacks: layer1\.2"):
        create_backbone("resnet18", weights=save(larger))


def test_zero_biases_of_convolutions_add_nothing(state, save):
    zero = {"conv1.bias": torch.zeros(64), "layer2.0.downsample.0.bias": torch.zeros(128)}
    create_backbone("resnet18", weights=save(state | zero))
    with pytest.raises(WeightsError, match=r"1 tensor .*layer1\.0\.bn9\.bias"):
        create_backbone("resnet18", weights=save(state | {"layer1.0.bn9.bias": torch.zeros(3)}))


@pytest.mark.parametrize(
    "name",
    [
        *("fc.weight", "norm.weight", "classifier.4.weight", "aux_classifier.0.weight"),
        *("head.fc.weight", "decode_head.conv.weight", "projector.0.weight", "decoder.x"),
        *("backbone.fc.weight", "layer1.0.bn1.num_batches_tracked"),
    ],
)
def test_heads_and_counters_are_left_out(state, save, name):
    create_backbone("resnet18", weights=save(state | {name: ONE}))


def test_stages_that_are_not_built_are_left_out(state, save):
    net = create_backbone("resnet18", out_features=("res3",), weights=save(state))
    assert torch.equal(net.layer2[0].conv1.weight, state["layer2.0.conv1.weight"])
    with pytest.raises(WeightsError, match=r"layer2\.0\.x\.weight"):
        create_backbone(
            "resnet18", out_features=("res3",), weights=save(state | {"layer2.0.x.weight": ONE})
        )


def test_a_stage_of_its_own_takes_nothing_more(state, save):
    res5 = create_res5("resnet18")
    load_weights(res5, save(state), prefix="layer4.")
    with pytest.raises(WeightsError, match=r"lacks: 2\.conv1\.weight"):
        load_weights(res5, save(state | {"layer4.2.conv1.weight": ONE}), prefix="layer4.")


def test_timms_networks_refuse_parts_of_their_stages(save):
    timm = pytest.importorskip("timm")
    content = timm.create_model("resnet18").state_dict()
    create_backbone("timm/resnet18", weights=save(content))  # its fc is a head
    with pytest.raises(WeightsError, match=r"lacks: layer1\.0\.se\.fc1\.weight"):
        create_backbone("timm/resnet18", weights=save(content | {"layer1.0.se.fc1.weight": ONE}))


def test_a_detector_leaves_out_heads_beside_the_boxes_only(save):
    masks = tiny_detector().state_dict()
    boxes = build_detector(tiny_config(mask=False), 3)
    report = load_weights(boxes, save(masks))
    assert report.unexpected
    assert all(name.startswith("roi_heads.mask_head.") for name in report.unexpected)
    cascade = masks | {"roi_heads.predictor.1.classifier.weight": ONE}
    with pytest.raises(WeightsError, match=r"lacks: roi_heads\.predictor\.1\.classifier"):
        load_weights(boxes, save(cascade))
    with pytest.raises(WeightsError, match=r"lacks: roi_heads\.mask_head\.extra\.weight"):
        load_weights(tiny_detector(), save(masks | {"roi_heads.mask_head.extra.weight": ONE}))


def test_modules_of_others_refuse_what_is_inside_their_children(save):
    module = nn.ModuleDict({"a": nn.Linear(2, 3)})
    load_weights(module, save({**module.state_dict(), "b.weight": ONE}))
    with pytest.raises(WeightsError, match=r"lacks: a\.gain"):
        load_weights(module, save({**module.state_dict(), "a.gain": ONE}))
