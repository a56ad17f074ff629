"""Ours beside the framework's own network: differences, and reasons why there is no proof."""

from dataclasses import replace

import pytest
import torch
import torchvision

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import WeightsError
from resnet_backbone.plugins import proof
from resnet_backbone.weights.stored import Stored

STAGES = ["res2", "res3", "res4", "res5"]


@pytest.fixture
def source(tmp_path):
    """torchvision's file by its published name, with other numbers."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def stored(name, card=None, **options):
    """The weights of a network of ours, as read from a file."""
    net = create_backbone(name, norm="BN", **options)
    return Stored("mine.pth", net.state_dict(), "ours", "backbone", card)


def prove(name, layout, *, stride_in_1x1=False, **options):
    weights = stored(name, stride_in_1x1=stride_in_1x1, **options)
    return proof.prove(weights, name, stride_in_1x1=stride_in_1x1, layout=layout)


def assert_equal(found, name, layout):
    assert (found.arch, found.layout) == (name, layout)
    assert list(found.differences) == STAGES
    # float32 sums in another order: 1e-5 of the largest value.
    assert max(found.differences.values()) < 1e-5


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_torchvision_computes_the_same(name):
    assert_equal(prove(name, "torchvision"), name, "torchvision")


@pytest.mark.parametrize("name", ["resnet18d", "seresnet18", "resnetv2_18"])
def test_timm_computes_the_same(name):
    pytest.importorskip("timm")
    assert_equal(prove(name, "timm"), name, "timm")


@pytest.mark.parametrize(("name", "stride"), [("resnet18", False), ("resnet50", True)])
def test_detectron2_computes_the_same_wherever_the_stride_is(name, stride):
    pytest.importorskip("detectron2", reason="detectron2 is not on PYTHONPATH, see README")
    assert_equal(prove(name, "detectron2", stride_in_1x1=stride), name, "detectron2")


@pytest.mark.parametrize(("name", "stride"), [("resnet18", False), ("resnet50", True)])
def test_transformers_computes_the_same_wherever_the_stride_is(name, stride):
    pytest.importorskip("transformers")
    assert_equal(prove(name, "transformers", stride_in_1x1=stride), name, "transformers")


def test_a_classifiers_head_is_of_no_concern():
    net = create_classifier("resnet18", num_classes=7)
    weights = Stored("mine.pth", net.state_dict(), "ours", "backbone", None)
    found = proof.prove(weights, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert_equal(found, "resnet18", "torchvision")


def test_the_same_weights_give_the_same_numbers():
    weights = stored("resnet18")
    once, again = (
        proof.prove(weights, "resnet18", stride_in_1x1=False, layout="torchvision") for _ in "12"
    )
    assert once == again


@pytest.mark.parametrize(
    ("name", "layout", "stride", "reason"),
    [
        ("resnet18", "mmpretrain", False, "layout 'mmpretrain' has no framework to compare with"),
        ("resnet18", "nonsense", False, "layout 'nonsense' has no framework to compare with"),
        ("resnet20_cifar", "torchvision", False, "resnet20_cifar has no C2 to C5"),
        ("resnet18d", "torchvision", False, "torchvision has no resnet18d"),
        ("resnet50", "torchvision", True, "torchvision has no resnet50 that strides in the 1x1"),
        ("wide_resnet50_2", "transformers", False, "transformers has no wide_resnet50_2"),
    ],
)
def test_reasons_why_there_is_nothing_to_compare_with(name, layout, stride, reason):
    assert prove(name, layout, stride_in_1x1=stride).startswith(reason)


def test_timm_strides_in_the_3x3_alone():
    pytest.importorskip("timm")
    found = prove("resnet50", "timm", stride_in_1x1=True)
    assert found == "timm has no resnet50 that strides in the 1x1 convolution"
    assert prove("plain18", "timm") == "timm has no plain18"


def test_names_that_a_layout_lacks_are_a_reason():
    pytest.importorskip("detectron2", reason="detectron2 is not on PYTHONPATH, see README")
    assert prove("seresnet18", "detectron2") == "detectron2 has no seresnet18"


# --- what a proof notices ---


def test_another_function_is_an_error(monkeypatch, source):
    stored = proof_input(source)
    right = proof.prove(stored, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert max(right.differences.values()) < 1e-5
    build = proof._BUILDERS["torchvision"]

    def wrong(arch, state, stride, eps):
        return build(arch, state | {"conv1.weight": 1.01 * state["conv1.weight"]}, stride, eps)

    monkeypatch.setitem(proof._BUILDERS, "torchvision", wrong)
    with pytest.raises(WeightsError, match="own resnet18 computes something else .* res2 "):
        proof.prove(stored, "resnet18", stride_in_1x1=False, layout="torchvision")


def test_names_that_the_frameworks_network_does_not_take_are_an_error(monkeypatch, source):
    names = proof.from_ours

    def wrong(tensors, layout, kind):
        return {n.replace("bn1.", "norm1."): t for n, t in names(tensors, layout, kind).items()}

    monkeypatch.setattr(proof, "from_ours", wrong)
    with pytest.raises(WeightsError, match=r"own model does not match at bn1.weight"):
        proof.prove(proof_input(source), "resnet18", stride_in_1x1=False, layout="torchvision")


@pytest.mark.parametrize("options", [{"norm": "GN"}, {"deformable": ("res5",)}])
def test_what_is_not_compared(options):
    net = create_backbone("resnet18", **({"norm": "BN"} | options))
    weights = Stored("mine.pth", net.state_dict(), "ours", "backbone", None)
    found = proof.prove(weights, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert "are not compared" in found


def test_a_network_that_returns_zeros_is_compared():
    assert proof._difference(torch.zeros(2), torch.zeros(2)) == 0
    assert proof._difference(torch.ones(2), torch.zeros(2)) == 1


def proof_input(path):
    from resnet_backbone.weights.stored import read_weights

    return read_weights(path)


def test_the_proof_is_of_the_cards_eps(source):
    stored = proof_input(source)
    stored = replace(stored, card=stored.card.model_copy(update={"norm_eps": 1e-3}))
    found = proof.prove(stored, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert max(found.differences.values()) < 1e-5


def test_weights_that_do_not_fill_the_network_are_a_reason_not_a_failure(source):
    stored = proof_input(source)
    tensors = {name: t for name, t in stored.tensors.items() if not name.startswith("layer4")}
    found = proof.prove(
        replace(stored, tensors=tensors), "resnet18", stride_in_1x1=False, layout="torchvision"
    )
    assert "layer4" in found


def test_frameworks_that_are_absent_are_said_to_be(monkeypatch, source):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    result = proof.prove(proof_input(source), "resnet18", stride_in_1x1=False, layout="timm")
    assert result == "timm is not installed"
