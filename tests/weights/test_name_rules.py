"""Tables of names, in both directions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_backbone.weights.name_rules import Rule, renamed_from_ours, renamed_to_ours, rules

BLOCK = Rule("res{s+1}.{b}.conv{k}.{x}", "layer{s}.{b}.conv{k}.{x}")
number = st.integers(0, 9999)
last = st.from_regex(r"[^.\n]+", fullmatch=True)


@pytest.mark.parametrize(
    ("rule", "theirs", "ours"),
    [
        (BLOCK, "res2.0.conv1.weight", "layer1.0.conv1.weight"),
        (Rule("stages.{s-1}.{b}", "layer{s}.{b}"), "stages.0.11", "layer1.11"),
        (Rule("fc{k}.{x}", "fcs.{k-6}.{x}"), "fc7.bias", "fcs.1.bias"),
        (Rule("inner_blocks.{i}", "lateral.res{i+2}"), "inner_blocks.3", "lateral.res5"),
        (Rule("model.{r}", "{r}"), "model.a.b.c", "a.b.c"),
        (Rule("_[mask]_fcn{k}_w", "convs.{k-1}.weight"), "_[mask]_fcn1_w", "convs.0.weight"),
        (Rule("a.b", "c"), "a.b", "c"),
    ],
)
def test_fields_are_carried_over_and_shifted_both_ways(rule, theirs, ours):
    assert rule.to_ours(theirs) == ours
    assert rule.from_ours(ours) == theirs


@pytest.mark.parametrize(
    "name",
    [
        "res2.0.conv1",
        "res2.0.conv1.",
        "res2.0.conv1.weight.more",
        "xres2.0.conv1.weight",
        "resx.0.conv1.weight",
        "res2x0xconv1xweight",
        "res.0.conv1.weight",
        "res-2.0.conv1.weight",
        "res12345.0.conv1.weight",
        "res\N{SUPERSCRIPT TWO}.0.conv1.weight",
        "",
    ],
)
def test_a_rule_fits_whole_names_alone(name):
    assert BLOCK.to_ours(name) is None


@given(st.integers(1, 9998), number, number, last)
def test_there_and_back_is_the_same_name(s, b, k, x):
    ours = f"layer{s}.{b}.conv{k}.{x}"
    theirs = BLOCK.from_ours(ours)
    assert theirs == f"res{s + 1}.{b}.conv{k}.{x}"
    assert BLOCK.to_ours(theirs) == ours


@given(st.text(max_size=30))
def test_any_name_is_translated_or_left(name):
    found = BLOCK.to_ours(name)
    assert found is None or found.startswith("layer")


def test_the_first_rule_that_fits_holds():
    table = rules(("stem.conv1.norm.{x}", "bn1.{x}"), ("stem.conv1.{r}", "conv1.{r}"))
    state = {name: torch.ones(1) for name in ("stem.conv1.norm.bias", "stem.conv1.weight", "head")}
    known, unknown = renamed_to_ours(state, table)
    assert list(known) == ["bn1.bias", "conv1.weight"] and unknown == ("head",)
    turned = rules(*((rule.theirs, rule.ours) for rule in reversed(table)))
    known, _ = renamed_to_ours(state, turned)
    assert list(known) == ["conv1.norm.bias", "conv1.weight"]


def test_tensors_are_handed_on_as_they_are_and_in_their_order():
    table = rules(("b.{x}", "two.{x}"), ("a.{x}", "one.{x}"))
    state = {"a.weight": torch.ones(2), "b.weight": torch.zeros(3), "c": torch.ones(1)}
    known, unknown = renamed_to_ours(state, table)
    assert list(known) == ["one.weight", "two.weight"]
    assert known["one.weight"] is state["a.weight"]
    back, nameless = renamed_from_ours(known | {"three": torch.ones(1)}, table)
    assert list(back) == ["a.weight", "b.weight"] and nameless == ("three",)
    assert back["b.weight"] is state["b.weight"] and unknown == ("c",)


def test_of_several_names_of_theirs_the_first_is_written():
    table = rules(("new.{x}", "ours.{x}"), ("old.{x}", "ours.{x}"))
    assert renamed_from_ours({"ours.a": torch.ones(1)}, table)[0].keys() == {"new.a"}
    for name in ("new.a", "old.a"):
        assert renamed_to_ours({name: torch.ones(1)}, table)[0].keys() == {"ours.a"}
