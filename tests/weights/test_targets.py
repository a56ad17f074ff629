"""What the frameworks can be, against their own builders, and what they have to be told."""

import re

import pytest
import torch
from framework_names import recorded

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.presets import MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored
from resnet_backbone.weights.targets import (
    TARGETS,
    arch_of,
    facts_of,
    refuse_inexpressible,
    refuse_other_network,
    settings_for,
)

BGR = TORCHVISION.model_copy(update={"channel_order": "BGR"})


def stored(name, card=TORCHVISION, **options):
    """Names and shapes suffice."""
    with torch.device("meta"):
        state = create_classifier(name, **options).state_dict()
    return Stored("mine.pth", state, "ours", "backbone", card)


def refusal(name, layout, card=TORCHVISION, **options):
    with pytest.raises(WeightsError) as caught:
        refuse_inexpressible(facts_of(stored(name, card, **options), name), layout, "mine.pth")
    return str(caught.value)


def settings(name, layout, card=TORCHVISION, **options):
    facts = facts_of(stored(name, card, **options), name)
    refuse_inexpressible(facts, layout, "mine.pth")
    return settings_for(facts, layout)


@pytest.mark.parametrize("layout", TARGETS)
def test_msras_stride_is_told_or_refused(layout):
    """By torchvision's and timm's networks, which have no argument for it."""
    if layout in ("torchvision", "timm"):
        text = refusal("resnet50", layout, MSRA)
        assert text.startswith(
            f"mine.pth: cannot be written for {layout}:\n  stride_in_1x1 is true"
        )
        assert text.endswith(
            "expected one of detectron2, mmpretrain, mmdet, transformers, safetensors"
        )
    else:
        told = " ".join(settings("resnet50", layout, MSRA))
        other = " ".join(settings("resnet50", layout, TORCHVISION))
        pairs = {
            "detectron2": ("STRIDE_IN_1X1 True", "STRIDE_IN_1X1 False"),
            "transformers": ("downsample_in_bottleneck=True", "downsample_in_bottleneck=False"),
        }
        wanted = pairs.get(layout, ("style='caffe'", "style='pytorch'"))
        assert wanted[0] in told and wanted[1] in other


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_basic_blocks_have_no_such_stride(layout):
    assert settings("resnet18", layout, MSRA)


def test_what_nobody_knows_is_asked_for():
    told = settings("resnet50", "detectron2", None)
    assert told[0] == "MODEL.RESNETS.DEPTH 50"
    assert told[1:] == [
        "stride_in_1x1 is not known: state it by --stride-in-1x1",
        "the pixels are not known: state --channel-order, --mean and --std",
    ]


@pytest.mark.parametrize(
    ("name", "layout", "options", "reason"),
    [
        ("resnet50d", "torchvision", {}, "it has no resnet50d"),
        ("resnet18c", "timm", {}, "it has no resnet18c"),
        ("resnetv2_50", "mmpretrain", {}, "it has no resnetv2_50"),
        ("wide_resnet50_2", "mmdet", {}, "it has no wide_resnet50_2"),
        ("seresnet18", "mmpretrain", {}, "it has no seresnet18"),
        ("plain18", "timm", {}, "it has no plain18"),
        ("resnet18_c", "detectron2", {}, "it has no resnet18_c"),
        ("resnet50", "transformers", {"norm": "GN"}, "these are group norms"),
        (
            "resnet50",
            "timm",
            {"deformable": ("res4", "res5")},
            "convolutions in res4, res5 of resn",
        ),
        ("resnet18", "detectron2", {"deformable": ("res5",)}, "no deformable convolutions in res5"),
    ],
)
def test_networks_that_it_lacks(name, layout, options, reason):
    assert reason in refusal(name, layout, **options)


@pytest.mark.parametrize(
    ("part", "layouts"),
    [
        ("neck.lateral.res2.bias", ["torchvision", "detectron2", "mmdet"]),
        ("roi_heads.box_pooler.res5.0.conv1.weight", ["mmdet"]),
        ("rpn.conv.bias", ["mmdet"]),  # dc5
    ],
)
def test_detectors_that_it_lacks(part, layouts):
    """Those of C4 and DC5 on basic blocks, as detectron2's builders assert."""
    state = {f"backbone.{n}": t for n, t in stored("resnet18").tensors.items()}
    weights = Stored("f", state | {part: torch.ones(1)}, "ours", "detector", TORCHVISION)
    facts = facts_of(weights, "resnet18")
    for layout in TARGETS:
        if layout in layouts:
            refuse_inexpressible(facts, layout, "f")
        else:
            with pytest.raises(WeightsError, match="it has no detector of architecture"):
                refuse_inexpressible(facts, layout, "f")


@pytest.mark.parametrize(
    ("part", "layout", "told"),
    [
        ("neck.lateral.res2.bias", "torchvision", "MaskRCNN with .* num_classes=4"),
        ("neck.lateral.res2.bias", "detectron2", "NUM_CLASSES 3 MODEL.MASK_ON True"),
        ("rpn.conv.bias", "detectron2", "MASK_ON True MODEL.RESNETS.RES5_DILATION 2"),  # dc5
        ("neck.lateral.res2.bias", "mmdet", "num_classes=3 of bbox_head and mask_head"),
        ("rpn.conv.bias", "mmdet", r"strides=\(1, 2, 2, 1\), dilations=\(1, 1, 1, 2\)"),
    ],
)
def test_how_the_detector_is_built(part, layout, told):
    """detectron2 leaves layers of another shape random, and says so only in its log."""
    state = {f"backbone.{n}": t for n, t in stored("resnet50").tensors.items()}
    state |= {part: torch.ones(1), "roi_heads.predictor.classifier.bias": torch.ones(4)}
    state["roi_heads.mask_head.predictor.bias"] = torch.ones(3)
    facts = facts_of(Stored("f", state, "ours", "detector", TORCHVISION), "resnet50")
    assert re.search(told, settings_for(facts, layout)[1])


@pytest.mark.parametrize("layout", TARGETS)
def test_another_epsilon_is_told_or_refused(layout):
    card = TORCHVISION.model_copy(update={"norm_eps": 1e-3})
    if layout in ("detectron2", "transformers"):
        assert "norm_eps is 0.001, but its own is always 1e-05" in refusal("resnet50", layout, card)
    else:
        assert "eps=0.001" in " ".join(settings("resnet50", layout, card))


@pytest.mark.parametrize(
    ("layout", "wanted"),
    [
        ("torchvision", "from 0 to 1, BGR: mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)"),
        ("timm", "its own images are RGB, for which --fold RGB makes these weights"),
        ("transformers", "--fold RGB"),
        ("detectron2", "INPUT.FORMAT BGR MODEL.PIXEL_MEAN [123.675, 116.28, 103.53] MODEL.PIXEL"),
        ("mmpretrain", "std=[58.395, 57.12, 57.375], to_rgb=False"),
        ("mmdet", "bgr_to_rgb=False"),
    ],
)
def test_the_pixels_are_said(layout, wanted):
    assert wanted in settings("resnet50", layout, BGR)[-1]
    assert "--fold" not in settings("resnet50", layout)[-1]


@pytest.mark.parametrize(
    ("name", "layout", "network"),
    [
        ("resnet18", "detectron2", "MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.RES2_OUT_CHANNELS 64"),
        (
            "resnext101_32x8d",
            "detectron2",
            "MODEL.RESNETS.DEPTH 101 MODEL.RESNETS.NUM_GROUPS 32 MODEL.RESNETS.WIDTH_PER_GROUP 8",
        ),
        ("resnet152d", "mmdet", "type='ResNetV1d', depth=152"),
        ("resnet34c", "mmdet", "type='ResNet', deep_stem=True, depth=34"),
        ("resnet34c", "mmpretrain", "type='ResNetV1c', depth=34"),
        ("seresnet50", "mmpretrain", "type='SEResNet', depth=50"),
        ("resnext50_32x4d", "mmdet", "type='ResNeXt', depth=50, groups=32, base_width=4"),
        ("resnetv2_50", "timm", "its model 'resnetv2_50'"),
    ],
)
def test_how_the_network_is_built(name, layout, network):
    assert settings(name, layout)[0] == network


def test_transformers_configuration_builds_that_network():
    transformers = pytest.importorskip("transformers")
    text = settings("resnet34", "transformers")[0].removeprefix("ResNetConfig: ")
    config = eval(f"transformers.ResNetConfig({text})", {"transformers": transformers})  # noqa: S307
    found = transformers.ResNetForImageClassification(config).state_dict()
    expected = recorded("backbones")["transformers"]["resnet34"]
    assert {n for n in found if "classifier" not in n} == {
        n for n in expected if "classifier" not in n
    }


def test_deformable_and_group_norms_are_told():
    told = settings("resnet50", "detectron2", norm="GN", deformable=("res4", "res5"))
    assert "MODEL.RESNETS.NORM GN" in told
    assert (
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE [False, False, True, True] "
        "MODEL.RESNETS.DEFORM_MODULATED True" in told
    )
    told = settings("resnet50", "mmdet", deformable=("res5",))
    assert told[-2].endswith("stage_with_dcn=(False, False, False, True)")


@pytest.mark.parametrize("layer", ["torchvision", "timm"])
def test_the_norm_layer_that_is_told_has_the_epsilon(layer):
    """As an argument of the framework's own builder."""
    pytest.importorskip(layer)
    import functools  # noqa: F401  # of the text

    import timm
    import torchvision

    card = TORCHVISION.model_copy(update={"norm_eps": 0.1})
    (text,) = [line for line in settings("resnet18", layer, card) if "norm_layer" in line]
    norm = eval(text.removeprefix("norm_layer="))  # noqa: S307
    create = timm.create_model if layer == "timm" else torchvision.models.get_model
    with torch.device("meta"):
        theirs = create("resnet18", norm_layer=norm)
    norms = [m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 20 and all(m.eps == 0.1 for m in norms)


# --- which network ---


def test_the_card_says_which_network_it_is():
    assert arch_of(stored("resnet18", WeightsCard(arch="resnet34"))) == "resnet34"


def test_without_a_card_names_and_shapes_say_it():
    assert arch_of(stored("resnet18d", None)) == "resnet18d"
    assert arch_of(stored("resnet18d", WeightsCard())) == "resnet18d"


def test_weights_of_another_network_are_refused():
    """timm's resnext101_32x4d has the blocks of several of ours, and the shapes of none."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model("resnext101_32x4d").state_dict()
    weights = Stored("w.pth", state, "torchvision", "backbone", None)
    message = r"^w\.pth: holds none of our networks \(most like wide_resnet101_2\), not "
    for arch in (arch_of(weights), "resnext101_32x8d", "resnet50"):
        with pytest.raises(WeightsError, match=message + arch):
            refuse_other_network(weights, arch)
    refuse_other_network(stored("resnet18d", None), "resnet18d")
    refuse_other_network(stored("plain18", None), "resnet18_a")
    refuse_other_network(weights, "timm/resnext101_32x4d")  # nobody's to compare


def test_where_they_leave_a_choice_or_none_it_is_asked_for():
    with pytest.raises(WeightsError, match=r"^mine\.pth: fits plain18 or resnet18_a; say whi"):
        arch_of(stored("plain18", None))
    weights = Stored("mine.pth", {"fc.weight": torch.ones(1)}, "ours", "backbone", None)
    with pytest.raises(WeightsError, match="fits none of our networks; say which"):
        arch_of(weights)
