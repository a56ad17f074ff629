"""Fine-tuning: which layers are kept as they were drawn, and when."""

import pytest
import torch

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.weights.class_layers import are_permuted, class_count, in_order_of, redrawn

HEAD = "roi_heads.predictor."


def classifier(classes):
    return {
        "conv1.weight": torch.ones(2),
        "fc.weight": torch.ones(classes, 3),
        "fc.bias": torch.ones(classes),
    }


def detector(classes, mask=True):
    tensors = {
        f"{HEAD}classifier.weight": torch.ones(classes + 1, 3),
        f"{HEAD}classifier.bias": torch.ones(classes + 1),
        f"{HEAD}regressor.weight": torch.ones(4 * classes, 3),
        f"{HEAD}regressor.bias": torch.ones(4 * classes),
    }
    masks = {
        "roi_heads.mask_head.predictor.weight": torch.ones(classes, 3, 1, 1),
        "roi_heads.mask_head.predictor.bias": torch.ones(classes),
    }
    return tensors | (masks if mask else {})


def asked(own, state, mode="auto", own_classes=None, file_classes=None):
    return redrawn(own, state, mode, own_classes=own_classes, file_classes=file_classes)


@pytest.mark.parametrize("make", [classifier, detector])
def test_another_number_of_classes_redraws_all_class_layers_and_no_others(make):
    found = asked(make(7), make(5))
    assert found.names == make(7).keys() - {"conv1.weight"}
    assert found.reason == "the file has 5 classes, the model 7"
    assert not asked(make(7), make(7)).names


@pytest.mark.parametrize("make", [classifier, detector])
def test_a_file_without_class_layers_redraws_them(make):
    found = asked(make(7), {"conv1.weight": torch.ones(2)})
    assert found.names == make(7).keys() - {"conv1.weight"}
    assert found.reason == "the file has no class layers"


def test_half_a_layer_is_not_no_layer():
    half = {"fc.weight": torch.ones(7, 3)}
    assert not asked(classifier(7), half).names  # the bias is then missing, which is refused


def test_the_norm_in_front_of_the_last_layer_belongs_to_it():
    net = create_classifier("resnetv2_18", num_classes=3).state_dict()
    trunk = {n: t for n, t in net.items() if not n.startswith(("fc.", "norm."))}
    assert asked(net, trunk).names == net.keys() - trunk.keys()


def test_boxes_that_all_classes_share_are_no_other_number_of_classes():
    state = detector(7) | {f"{HEAD}regressor.weight": torch.ones(4, 3)}
    assert class_count(state) is None
    assert not asked(detector(7), state).names  # their shape is then refused


@pytest.mark.parametrize("make", [classifier, detector])
def test_other_names_of_as_many_classes(make):
    names = ("cat", "dog", "owl")
    other = ("cat", "cow", "owl")
    found = asked(make(3), make(3), "auto", names, other)
    assert found.names == make(3).keys() - {"conv1.weight"}
    assert found.reason == "1 of 3 classes have other names: 'cow' for 'dog'"
    for mine, theirs in ((names, names), (None, other), (names, None)):
        assert not asked(make(3), make(3), "auto", mine, theirs).names
    assert not asked(make(3), make(3), "copy", names, other).names
    assert asked(make(3), make(3), "draw", names, names).names == found.names


def numbered(tensors):
    """Fills row i of every layer with i."""
    rows = {n: torch.arange(len(t)).reshape(-1, *[1] * (t.dim() - 1)) for n, t in tensors.items()}
    return {n: rows[n].expand_as(t).float() for n, t in tensors.items()}


def test_rows_follow_the_names_of_their_classes():
    file, own = ("cat", "dog", "owl"), ("owl", "cat", "dog")
    state = numbered(detector(3) | {"rpn.offsets.weight": torch.ones(3)})
    found = in_order_of(state, own, file)
    assert found[f"{HEAD}classifier.bias"].tolist() == [2, 0, 1, 3]  # background stays last
    assert found[f"{HEAD}regressor.bias"].tolist() == [*range(8, 12), *range(8)]
    assert found["roi_heads.mask_head.predictor.bias"].tolist() == [2, 0, 1]
    assert found["rpn.offsets.weight"].tolist() == [0, 1, 2]
    for name, tensor in found.items():
        assert tensor.shape == state[name].shape and torch.equal(tensor.sort(0).values, state[name])
    assert in_order_of(found, file, own).keys() == state.keys()
    for name, tensor in in_order_of(found, file, own).items():
        assert torch.equal(tensor, state[name])
    assert not asked(detector(3), found, "auto", own, file).names


def test_further_outputs_of_a_classifier_stay_where_they_are():
    found = in_order_of(numbered(classifier(5)), ("b", "a"), ("a", "b"))
    assert found["fc.bias"].tolist() == found["fc.weight"][:, 0].tolist() == [1, 0, 2, 3, 4]


@pytest.mark.parametrize(
    ("own", "file"),
    [
        (("a", "b"), ("a", "b")),
        (("a", "b"), ("b", "c")),
        (("a", "b", "a"), ("a", "a", "b")),  # which is which?
        (("a",), ("a", "b")),
    ],
)
def test_only_the_same_names_in_another_order_are_reordered(own, file):
    state = numbered(classifier(3))
    assert not are_permuted(own, file)
    assert torch.equal(in_order_of(state, own, file)["fc.bias"], state["fc.bias"])
    assert bool(asked(state, state, "auto", own, file).names) is (own != file)


@pytest.mark.parametrize(
    ("tensors", "count"),
    [
        (classifier(7), 7),
        (detector(7), 7),
        (detector(1, mask=False), 1),
        ({"fc.weight": torch.tensor(1.0)}, None),
        ({"conv1.weight": torch.ones(3)}, None),
        (classifier(7) | {"fc.bias": torch.ones(6)}, None),
    ],
)
def test_counts(tensors, count):
    assert class_count(tensors) == count
