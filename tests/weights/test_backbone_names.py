"""The frameworks' names, as their sources have them; whole state dicts are in test_layouts."""

import functools

import pytest
import torch

from resnet_backbone.backbone.variants import get_variant, list_backbones
from resnet_backbone.classification.create import create_classifier
from resnet_backbone.weights.backbone_names import (
    CAFFE2,
    CIFAR,
    DETECTRON2,
    GROUP_NORM,
    MMDET,
    MMPRETRAIN,
    OURS,
    TIMM_V2,
    TRANSFORMERS,
)
from resnet_backbone.weights.name_rules import renamed_from_ours, renamed_to_ours


def ours_of(theirs, table):
    (found,), unknown = (tuple(part) for part in renamed_to_ours({theirs: torch.ones(1)}, table))
    assert unknown == ()
    return found


@pytest.mark.parametrize(
    ("table", "theirs", "ours"),
    [
        # detectron2/modeling/backbone/resnet.py
        (DETECTRON2, "stem.conv1.weight", "conv1.weight"),
        (DETECTRON2, "stem.conv1.norm.running_var", "bn1.running_var"),
        (DETECTRON2, "res2.0.shortcut.weight", "layer1.0.downsample.0.weight"),
        (DETECTRON2, "res2.0.shortcut.norm.bias", "layer1.0.downsample.1.bias"),
        (DETECTRON2, "res5.2.conv2_offset.bias", "layer4.2.conv2.offset.bias"),
        (DETECTRON2, "res4.22.conv3.norm.weight", "layer3.22.bn3.weight"),
        (DETECTRON2, "linear.bias", "fc.bias"),
        # timm/models/resnetv2.py
        (TIMM_V2, "stem.conv.weight", "conv1.weight"),
        (TIMM_V2, "stages.0.blocks.0.downsample.conv.weight", "layer1.0.downsample.0.weight"),
        (TIMM_V2, "stages.3.blocks.2.norm3.bias", "layer4.2.bn3.bias"),
        (TIMM_V2, "norm.running_mean", "norm.running_mean"),
        (TIMM_V2, "head.fc.weight", "fc.weight"),
        # mmpretrain/models/backbones/resnet.py; the stem of the D networks is a Sequential of
        # ConvModules, in mmdet/models/backbones/resnet.py of layers
        (MMPRETRAIN, "backbone.conv1.weight", "conv1.weight"),
        (MMPRETRAIN, "backbone.stem.1.conv.weight", "conv1.3.weight"),
        (MMPRETRAIN, "backbone.stem.2.bn.running_var", "conv1.7.running_var"),
        (MMPRETRAIN, "backbone.stem.0.gn.bias", f"conv1.1.{GROUP_NORM}bias"),
        (MMPRETRAIN, "backbone.layer1.0.gn3.weight", f"layer1.0.bn3.{GROUP_NORM}weight"),
        (MMPRETRAIN, "backbone.layer1.0.downsample.1.bias", "layer1.0.downsample.1.bias"),
        (MMPRETRAIN, "backbone.layer2.1.se_layer.conv2.conv.bias", "layer2.1.se.fc2.bias"),
        (MMPRETRAIN, "head.fc.bias", "fc.bias"),
        (MMDET, "backbone.stem.3.weight", "conv1.3.weight"),
        (MMDET, "backbone.stem.7.running_var", "conv1.7.running_var"),
        (MMDET, "backbone.layer3.1.conv2.conv_offset.weight", "layer3.1.conv2.offset.weight"),
        # transformers/models/resnet/modeling_resnet.py
        (TRANSFORMERS, "resnet.embedder.embedder.convolution.weight", "conv1.weight"),
        (TRANSFORMERS, "resnet.embedder.embedder.normalization.bias", "bn1.bias"),
        (
            TRANSFORMERS,
            "resnet.encoder.stages.2.layers.5.layer.0.convolution.weight",
            "layer3.5.conv1.weight",
        ),
        (
            TRANSFORMERS,
            "resnet.encoder.stages.0.layers.0.shortcut.normalization.running_mean",
            "layer1.0.downsample.1.running_mean",
        ),
        (TRANSFORMERS, "classifier.1.weight", "fc.weight"),
        # kuangliu/pytorch-cifar, models/resnet.py
        (CIFAR, "layer2.0.shortcut.0.weight", "layer2.0.downsample.0.weight"),
        (CIFAR, "layer2.0.bn2.weight", "layer2.0.bn2.weight"),
        (CIFAR, "linear.weight", "fc.weight"),
        # detectron2/checkpoint/c2_model_loading.py
        (CAFFE2, "conv1_w", "conv1.weight"),
        (CAFFE2, "res_conv1_bn_s", "bn1.weight"),
        (CAFFE2, "res_conv1_bn_riv", "bn1.running_var"),
        (CAFFE2, "conv1_gn_b", f"bn1.{GROUP_NORM}bias"),
        (CAFFE2, "res2_0_branch1_w", "layer1.0.downsample.0.weight"),
        (CAFFE2, "res2_0_branch1_bn_b", "layer1.0.downsample.1.bias"),
        (CAFFE2, "res4_22_branch2c_bn_s", "layer3.22.bn3.weight"),
        (CAFFE2, "res5_2_branch2b_w", "layer4.2.conv2.weight"),
        (CAFFE2, "res3_1_branch2a_gn_s", f"layer2.1.bn1.{GROUP_NORM}weight"),
        (CAFFE2, "fc1000_w", "fc.weight"),
        (CAFFE2, "pred_b", "fc.bias"),
        # torchvision/models/resnet.py, and timm/models/resnet.py
        (
            OURS,
            "layer2.0.downsample.1.num_batches_tracked",
            "layer2.0.downsample.1." + "num_batches_tracked",
        ),
        (OURS, "layer1.0.se.fc2.bias", "layer1.0.se.fc2.bias"),
        (OURS, "conv1.6.weight", "conv1.6.weight"),
    ],
)
def test_names_of_the_sources(table, theirs, ours):
    assert ours_of(theirs, table) == ours


@functools.cache
def names_of(network):
    with torch.device("meta"):
        return create_classifier(network).state_dict()


ALL = [name for name in list_backbones() if "1202" not in name]


@pytest.mark.parametrize("network", ALL)
def test_all_names_of_every_network_are_in_our_own_table(network):
    state = names_of(network)
    known, unknown = renamed_to_ours(state, OURS)
    assert list(known) == list(state) and unknown == ()


# What each framework can have names for; of the others some are missing, and none is confused.
COVERED = {
    "detectron2": (DETECTRON2, lambda v: v.stem == "7x7" and not v.pre_activation),
    "timm": (TIMM_V2, lambda v: v.pre_activation),
    "mmpretrain": (MMPRETRAIN, lambda v: not v.pre_activation),
    "mmdet": (MMDET, lambda v: not v.pre_activation),
    "transformers": (TRANSFORMERS, lambda v: v.stem == "7x7" and not v.pre_activation),
    "cifar": (CIFAR, lambda v: v.stem == "cifar"),
}


@pytest.mark.parametrize("layout", COVERED)
@pytest.mark.parametrize("network", ALL)
def test_no_two_of_our_names_are_one_of_theirs_and_each_comes_back(network, layout):
    table, covers = COVERED[layout]
    variant = get_variant(network)
    state = names_of(network)
    theirs, nameless = renamed_from_ours(state, table)
    assert len(theirs) + len(nameless) == len(state)  # none has overwritten another
    back, unknown = renamed_to_ours(theirs, table)
    assert unknown == () and list(back) == [name for name in state if name not in nameless]
    if covers(variant) and not variant.squeeze_excite:
        assert nameless == ()
