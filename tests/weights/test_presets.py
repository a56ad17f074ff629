"""Weights that everybody has: their facts against torchvision's and timm's own."""

import pytest
import torch
import torchvision

from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.presets import (
    CLASSIC,
    IMAGENET,
    LONG,
    MSRA,
    STRIKES_BACK,
    TORCHVISION,
    known_card,
    timm_card,
    torchvision_card,
    torchvision_weights,
    without_weights,
)

BN = {"bn1.running_mean": torch.zeros(1)}
# Of ours, those that torchvision has weights for.
THEIRS = sorted(set(list_backbones()) & set(torchvision.models.list_models(torchvision.models)))


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
        ("resnet50_caffe-788b5fa3.pth", "torchvision", "backbone", "resnet50", "BGR", True, 1.0),
        (
            "resnext101_32x8d-1516f1aa.pth",
            *("torchvision", "backbone", "resnext101_32x8d", "BGR", False, 57.375),
        ),
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


# mmpretrain's published names (configs/*/metafile.yml) and whether they are of the RSB recipe.
OPENMMLAB = {
    "resnet18_8xb32_in1k_20210831-fbbb1da6.pth": CLASSIC,
    "resnet50_batch256_fp16_imagenet_20210320-b3964210.pth": CLASSIC,
    "resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth": STRIKES_BACK,
    "resnet50_8xb256-rsb-a3-100e_in1k_20211228-3493673c.pth": STRIKES_BACK,
    "resnetv1c101_8xb32_in1k_20220214-434fe45f.pth": CLASSIC,
    "resnetv1d152_b32x8_imagenet_20210531-278cf22a.pth": CLASSIC,
    "resnext50_32x4d_b32x8_imagenet_20210429-56066e27.pth": CLASSIC,
    "se-resnet50_batch256_imagenet_20200804-ae206104.pth": CLASSIC,
    "wide-resnet50_3rdparty_8xb32_in1k_20220304-66678344.pth": CLASSIC,
}


@pytest.mark.parametrize("name", OPENMMLAB)
def test_mmpretrains_published_names(name):
    card = known_card(f"/x/{name}", "mmpretrain", "backbone", "resnet50", BN)
    assert (card.source, card.recipe) == ("mmpretrain", OPENMMLAB[name])
    assert (card.mean, card.std) == (TORCHVISION.mean, TORCHVISION.std)


@pytest.mark.parametrize(
    "path",
    [
        "resnet18_b16x8_cifar10_20210528-bd6371c8.pth",  # other pixels
        "/work/caffe/resnet50.pth",
        "my_caffe_msra_resnet50.pth",
        "resnet50_caffe.pth",
    ],
)
def test_a_word_in_a_name_is_no_family(path):
    for layout in ("mmpretrain", "torchvision"):
        assert known_card(path, layout, "backbone", "resnet50", BN) is None


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18-5c106cde", "resnet34-333f7ec4", "resnet50-19c8e357"),
        *("resnet101-5d3b4d8f", "resnet152-b121ed2d"),
    ],
)
def test_torchvisions_hashes_of_before_2021(name):
    arch = name.partition("-")[0]
    card = known_card(f"hub/{name}.pth", "torchvision", "backbone", arch, BN)
    assert card == torchvision_card(arch, "IMAGENET1K_V1")


def test_timms_files_of_another_network_have_no_card_of_ours():
    pytest.importorskip("timm")
    path = "resnetaa50.a1h_in1k/model.safetensors"
    assert known_card(path, "torchvision", "backbone", "resnet50", BN) is None
    assert known_card("resnet18.a1_in1k.pth", "torchvision", "backbone", "resnet50", BN) is None


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


def test_a_folder_with_a_dot_in_its_name_is_no_model_of_timms():
    pytest.importorskip("timm")
    for folder in ("/data/v1.run_in_progress", "/home/me.my_in_tray/hub.old_in2020"):
        for name in ("resnet50_a1_0-14fe96d1.pth", "resnet50.a1_in1k/model.safetensors"):
            card = known_card(f"{folder}/{name}", "torchvision", "backbone", "resnet50", BN)
            assert card is not None and card.source == "timm/resnet50.a1_in1k"
    assert known_card("/data/v1.run_in_progress/w.pth", "torchvision", "backbone", None, BN) is None


# --- torchvision ---


@pytest.mark.parametrize("arch", THEIRS)
def test_every_card_of_torchvisions_says_what_its_transforms_do(arch):
    entries = torchvision.models.get_model_weights(arch)
    assert len(entries) >= 1
    for entry in entries:
        card, transforms = torchvision_card(arch, entry.name), entry.transforms()
        assert (card.arch, card.layout, card.source) == (arch, "torchvision", entry.url)
        assert card.missing_facts() == ()
        assert (card.channel_order, card.pixel_scale, card.stride_in_1x1) == ("RGB", 255, False)
        assert card.mean == pytest.approx([255 * mean for mean in transforms.mean])
        assert card.std == pytest.approx([255 * std for std in transforms.std])
        assert card.interpolation == transforms.interpolation.value
        assert card.top1 == entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        # The second recipe is the one that tests at 232 (pytorch/vision, issue 3995).
        assert card.recipe == (LONG if transforms.resize_size == [232] else CLASSIC)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"])
def test_torchvisions_detectors_say_what_torchvision_builds(name):
    """Its own builder, with the download replaced, has the norms' epsilon that the card says."""
    entry = torchvision.models.get_model_weights(name).COCO_V1
    card = torchvision_card("resnet50", name)
    assert (card.source, card.recipe, card.missing_facts()) == (entry.url, CLASSIC, ())
    path = f"/somewhere/{entry.url.rpartition('/')[2]}"
    assert known_card(path, "torchvision", "detector", "resnet50", BN) == card
    assert known_card("/somewhere/mine.pth", "torchvision", "detector", "resnet50", BN) is None

    state = torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)
        patch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
        theirs = torchvision.models.get_model(name, weights=entry)
    frozen = [m for m in theirs.modules() if hasattr(m, "running_var")]
    assert {norm.eps for norm in frozen} == {card.norm_eps} and len(frozen) == 53
    assert card.mean == pytest.approx([255 * mean for mean in theirs.transform.image_mean])
    assert card.std == pytest.approx([255 * std for std in theirs.transform.image_std])


def test_names_that_torchvision_has_not():
    with pytest.raises(WeightsError, match="torchvision/V1: torchvision has no architecture 'resn"):
        torchvision_card("resnet18d", "V1")
    with pytest.raises(WeightsError, match="torchvision has no architecture None"):
        torchvision_weights(None, "IMAGENET1K_V1")
    expected = r"torchvision/V3: no such weights for resnet50, expected one of \['IMAGENET1K_V1', '"
    with pytest.raises(WeightsError, match=expected):
        torchvision_card("resnet50", "V3")


def test_imagenets_numbers_are_those_of_pixels_from_0_to_1():
    for name, unit in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        assert IMAGENET[name] == pytest.approx([255 * value for value in unit])
    assert WeightsCard(**IMAGENET) == TORCHVISION


def test_msras_pixels_are_the_same_mean_in_the_other_order():
    assert (MSRA.channel_order, MSRA.mean) == ("BGR", TORCHVISION.mean[::-1])
    assert MSRA.std == (1.0, 1.0, 1.0) and MSRA.stride_in_1x1 is True


def test_without_weights_the_numbers_are_torchvisions_in_the_stated_order():
    assert without_weights(None) == without_weights("RGB") == TORCHVISION
    turned = without_weights("BGR")
    assert (turned.channel_order, turned.mean) == ("BGR", TORCHVISION.mean[::-1])
    assert turned.std == TORCHVISION.std[::-1] and turned.stride_in_1x1 is False


# --- timm ---


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("resnet50.a1_in1k", STRIKES_BACK),
        ("resnet50.tv_in1k", CLASSIC),
        ("resnet50.tv2_in1k", LONG),
        ("resnet50.gluon_in1k", CLASSIC),
        ("resnet50d.ra2_in1k", STRIKES_BACK),
        ("resnet50.fb_ssl_yfcc100m_ft_in1k", CLASSIC),
    ],
)
def test_cards_of_timms_say_what_its_configurations_do(name, recipe):
    timm = pytest.importorskip("timm")
    card, entry = timm_card(name), timm.get_pretrained_cfg(name)
    assert card.mean == pytest.approx([255 * mean for mean in entry.mean])
    assert card.std == pytest.approx([255 * std for std in entry.std])
    assert (card.interpolation, card.licence) == (entry.interpolation, entry.license)
    assert (card.source, card.recipe) == (f"timm/{name}", recipe)
    assert card.missing_facts() == ()


@pytest.mark.parametrize("name", ["resnet50.no_such_in1k", "resnet5O.a1_in1k", "", "."])
def test_models_that_timm_has_not_have_no_card(name):
    pytest.importorskip("timm")
    assert timm_card(name) is None
