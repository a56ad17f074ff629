"""Weights written under the names of others, and folded for other pixels."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.create import create_backbone
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.weights.card import WeightsCard
from resnet_backbone.weights.convert import fold, without, write_as
from resnet_backbone.weights.fold import fold_input
from resnet_backbone.weights.presets import MSRA, TORCHVISION
from resnet_backbone.weights.stored import Stored, read_weights

CARD = TORCHVISION.model_copy(update={"arch": "resnet18", "layout": "ours"})


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    net = create_backbone("resnet18", norm="BN")
    return Stored("mine.safetensors", net.state_dict(), "ours", "backbone", CARD)


@pytest.fixture(scope="module")
def detector():
    from tiny_rcnn import tiny_config

    torch.manual_seed(0)
    state = build_detector(tiny_config(), 3).state_dict()
    return Stored("mine.safetensors", state, "ours", "detector", CARD)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", ["torchvision", "timm", "mmpretrain", "mmdet", "transformers"])
def test_what_is_written_reads_back(backbone, tmp_path, layout, suffix):
    path = tmp_path / f"w{suffix}"
    assert write_as(backbone, path, layout) == len(backbone.tensors)
    back = read_weights(path)
    assert_same(back.tensors, backbone.tensors)
    # A pickle has no room for a card.
    assert back.card == (None if suffix == ".pth" else CARD)


def test_our_own_names_keep_the_card(backbone, tmp_path):
    path = tmp_path / "w.safetensors"
    assert write_as(backbone, path, "safetensors") == len(backbone.tensors)
    assert_same(load_file(path), backbone.tensors)
    assert read_weights(path).card == CARD


def test_without_a_card_there_is_none_in_the_file(backbone, tmp_path):
    bare = Stored("w", backbone.tensors, "ours", "backbone", None)
    write_as(bare, tmp_path / "w.safetensors", "safetensors")
    assert read_weights(tmp_path / "w.safetensors").card is None


@pytest.mark.parametrize("kind", ["backbone", "detector"])
def test_detectron2s_checkpointer_finds_the_weights_below_model(kind, tmp_path, request):
    stored = request.getfixturevalue(kind)
    write_as(stored, tmp_path / "w.pth", "detectron2")
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["model"]
    name = "stem.conv1.weight" if kind == "backbone" else "backbone.bottom_up.stem.conv1.weight"
    assert content["model"][name].is_contiguous()
    back = read_weights(tmp_path / "w.pth")
    assert (back.kind, back.layout) == (kind, "detectron2")
    assert_same(back.tensors, stored.tensors)


def test_equal_weights_make_equal_files_whatever_they_are_called(backbone, tmp_path):
    for name in ("one.pth", "another_name.pth"):
        write_as(backbone, tmp_path / name, "torchvision")
    assert (tmp_path / "one.pth").read_bytes() == (tmp_path / "another_name.pth").read_bytes()


def test_an_existing_file_is_replaced_and_nothing_else_left(backbone, tmp_path):
    path = tmp_path / "w.pth"
    path.write_text("something else")
    write_as(backbone, path, "torchvision")
    assert torch.load(path, weights_only=True).keys() == backbone.tensors.keys()
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        ("w.pth", "safetensors", r"expected a \.safetensors file for safetensors"),
        ("w.safetensors", "detectron2", r"expected a \.pth file for detectron2"),
        ("w.pkl", "timm", r"expected a \.safetensors or \.pth file for timm"),
        ("w", "timm", r"expected a \.safetensors or \.pth file for timm"),
        ("w.pth", "caffe2", "a backbone cannot be written in layout 'caffe2', expected one of"),
        ("w.pth", "nonsense", "a backbone cannot be written in layout 'nonsense', expected one of"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(backbone, tmp_path, name, layout, expected):
    with pytest.raises(WeightsError, match=expected):
        write_as(backbone, tmp_path / name, layout)
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_layout_lacks_are_an_error(tmp_path):
    state = create_classifier("resnet18d", num_classes=3).state_dict()
    stored = Stored("w", state, "ours", "backbone", None)
    with pytest.raises(
        WeightsError, match="w: cannot be written for detectron2:\n  it has no resn"
    ):
        write_as(stored, tmp_path / "w.pth", "detectron2")


def test_a_place_that_cannot_be_written_is_a_storage_error(backbone, tmp_path):
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(StorageError, match="cannot be written: No such file"):
            write_as(backbone, tmp_path / "no" / name, "torchvision")


def test_a_framework_that_would_compute_something_else_gets_no_file(tmp_path):
    net = create_backbone("resnet50", norm="BN", stride_in_1x1=True)
    msra = Stored("R-50.pkl", net.state_dict(), "caffe2", "backbone", MSRA)
    with pytest.raises(WeightsError, match="R-50.pkl: cannot be written for torchvision"):
        write_as(msra, tmp_path / "w.pth", "torchvision")
    assert list(tmp_path.iterdir()) == []


# --- names without a place ---


@pytest.mark.parametrize("kind", ["backbone", "detector"])
def test_names_of_no_network_of_ours_are_refused_or_left_out(kind, tmp_path, request):
    stored = request.getfixturevalue(kind)
    more = {"aux.weight": torch.ones(1), "aux.bias": torch.ones(1)}
    extended = replace(stored, tensors=stored.tensors | more)
    with pytest.raises(
        WeightsError, match="2 tensors? without a place .* aux.weight, aux.bias; leav"
    ):
        without(extended, [])
    with pytest.raises(
        WeightsError, match="1 tensors? without a place .* aux.bias; leave them out"
    ):
        without(extended, ["aux.w*"])
    kept, lost = without(extended, ["aux.w*", "*.bias"])
    assert_same(kept.tensors, stored.tensors)
    assert lost == 2
    for layout, name in (("safetensors", "w.safetensors"), ("detectron2", "w.pth")):
        with pytest.raises(WeightsError, match="has no name for 2 tensors: aux.weight, aux.bias"):
            write_as(extended, tmp_path / name, layout)


def test_what_was_ignored_at_reading_is_lost_too_unless_it_is_computed(detector):
    computed = {"pixel_mean": torch.ones(3), "conv1_b": torch.zeros(3)}
    assert without(replace(detector, ignored=computed), [])[1] == 0
    with pytest.raises(WeightsError, match="1 tensors? without a place .*: head.cls_score.weight"):
        without(replace(detector, ignored=computed | {"head.cls_score.weight": torch.ones(1)}), [])


def test_only_names_without_a_place_can_be_left_out(backbone):
    with pytest.raises(WeightsError, match=r"'layer4\.\*' is like none of .*: there are none"):
        without(backbone, ["layer4.*"])


# --- folding ---


def test_a_backbone_is_folded_as_fold_input_does(backbone):
    found = fold(backbone, "BGR", MSRA)
    tensors, card = fold_input(backbone.tensors, CARD, channel_order="BGR", std=MSRA.std)
    assert_same(found.tensors, tensors)
    assert found.card == card
    assert (card.channel_order, card.mean, card.std) == ("BGR", MSRA.mean, MSRA.std)
    assert (found.source, found.layout, found.kind) == ("mine.safetensors", "ours", "backbone")
    assert backbone.card == CARD


def test_of_a_detector_the_first_convolution_alone_changes(detector):
    found = fold(detector, "BGR", MSRA)
    changed = [n for n, t in found.tensors.items() if not torch.equal(t, detector.tensors[n])]
    assert changed == ["backbone.conv1.weight"]
    assert found.tensors.keys() == detector.tensors.keys()
    # w * s' / s, in the other order: s' is 1.
    scale = torch.tensor(CARD.std[::-1])[:, None, None]
    expected = detector.tensors[changed[0]].flip(1) / scale
    torch.testing.assert_close(found.tensors[changed[0]], expected)


def test_what_is_not_known_cannot_be_folded(backbone):
    bare = Stored("mine.pth", backbone.tensors, "ours", "backbone", None)
    with pytest.raises(WeightsError, match=r"mine\.pth: nothing is known about its pixels; state"):
        fold(bare, "BGR", MSRA)
    empty = Stored("mine.pth", backbone.tensors, "ours", "backbone", WeightsCard())
    with pytest.raises(WeightsError, match="cannot fold the input: the card lacks"):
        fold(empty, "BGR", MSRA)
