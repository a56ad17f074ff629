"""Cards: what they say, how they are stored, and which families are known."""

import pytest
import torch
import torchvision

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard, card_in
from resnet_backbone.weights.presets import CLASSIC, LONG, STRIKES_BACK, known_card

BN = {"bn1.running_mean": torch.zeros(1)}


def test_text_and_back():
    card = WeightsCard(arch="resnet50", mean=(0.1, 0.2, 0.3), pixel_scale=1, recipe=LONG)
    assert card_in(card.to_metadata(), "f") == card
    assert card_in({}, "f") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"channel_order": "GBR"}', "channel_order: Input should be 'RGB' or 'BGR'"),
        ('{"colour": 1}', "colour: Extra inputs"),
        ('{"mean": [1, 2]}', "mean"),
    ],
)
def test_damaged_cards_say_where(text, reason):
    with pytest.raises(WeightsError, match=rf"f\.safetensors: its card cannot be read: .*{reason}"):
        card_in({"card": text}, "f.safetensors")


def test_pixel_scale():
    card = WeightsCard(pixel_scale=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert card.at_255().mean == (123.675, 116.28, 103.53)
    assert card.at_255().std == (58.395, 57.12, 57.375)
    assert card.at_255().at_255() == card.at_255()


def test_missing_facts():
    assert WeightsCard().missing_facts() == ("stride_in_1x1", "channel_order", "mean", "std")
    assert WeightsCard(stride_in_1x1=False).missing_facts()[0] == "channel_order"


@pytest.mark.parametrize(
    ("arch", "tag", "recipe"),
    [
        ("resnet18", "IMAGENET1K_V1", CLASSIC),
        ("resnet50", "IMAGENET1K_V1", CLASSIC),
        ("resnet50", "IMAGENET1K_V2", LONG),
        ("resnext101_64x4d", "IMAGENET1K_V1", LONG),
    ],
)
def test_torchvisions_files(arch, tag, recipe):
    weights = torchvision.models.get_model_weights(arch)[tag]
    path = f"/somewhere/{weights.url.rpartition('/')[2]}"
    card = known_card(path, "torchvision", "backbone", arch, BN)
    assert card.arch == arch
    assert card.channel_order == "RGB"
    assert card.stride_in_1x1 is False
    assert card.mean == pytest.approx([255 * mean for mean in weights.transforms().mean])
    assert card.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert card.recipe == recipe


@pytest.mark.parametrize(
    "path",
    [
        "hub/models--timm--resnet50.a1_in1k/snapshots/1/model.safetensors",
        "resnet50.a1_in1k.pth",
        "resnet50_a1_0-14fe96d1.pth",
    ],
)
def test_timms_files(path):
    timm = pytest.importorskip("timm")
    card = known_card(path, "torchvision", "backbone", "resnet50", BN)
    entry = timm.get_pretrained_cfg("resnet50.a1_in1k")
    assert card.mean == pytest.approx([255 * mean for mean in entry.mean])
    assert card.licence == entry.license
    assert card.interpolation == "bicubic"
    assert card.recipe == STRIKES_BACK


@pytest.mark.parametrize(
    ("path", "layout", "kind", "arch", "order", "stride", "std"),
    [
        ("R-50.pkl", "caffe2", "backbone", "resnet50", "BGR", True, 1.0),
        ("R-101.pkl", "caffe2", "backbone", "resnet101", "BGR", True, 1.0),
        ("X-101-32x8d.pkl", "caffe2", "backbone", "resnext101_32x8d", "BGR", False, 57.375),
        ("R-50.pkl", "detectron2", "backbone", "resnet50", "RGB", False, 58.395),
        ("137/model_final_280758.pkl", "detectron2", "detector", "resnet50", "BGR", True, 1.0),
        ("resnet50_msra-5891d200.pth", "torchvision", "backbone", "resnet50", "BGR", True, 1.0),
        ("resnet50_8xb32_in1k_2-e.pth", "mmpretrain", "backbone", "resnet50", "RGB", False, 58.395),
        ("resnet20-12fca82f.th", "cifar", "backbone", "resnet20_cifar", "RGB", False, 58.395),
        (
            "models--microsoft--resnet-50/model.safetensors",
            *("transformers", "backbone", "resnet50", "RGB", False, 58.395),
        ),
    ],
)
def test_other_families(path, layout, kind, arch, order, stride, std):
    card = known_card(path, layout, kind, arch, BN)
    assert (card.channel_order, card.stride_in_1x1, card.std[0]) == (order, stride, std)
    assert (card.arch, card.layout) == (arch, layout)


def test_detectrons_group_normalised_weights():
    card = known_card("R-50-GN.pkl", "caffe2", "backbone", "resnet50", {})
    assert (card.channel_order, card.stride_in_1x1, card.std[0]) == ("BGR", False, 1.0)


@pytest.mark.parametrize(
    ("path", "layout", "kind"),
    [
        ("my_resnet50.pth", "torchvision", "backbone"),
        ("model_final.pth", "detectron2", "detector"),
        ("mine/model.safetensors", "transformers", "backbone"),
        ("resnet50-00000000.pth", "torchvision", "backbone"),
    ],
)
def test_unknown_files_are_unknown(path, layout, kind):
    assert known_card(path, layout, kind, "resnet50", BN) is None
