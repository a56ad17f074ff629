"""The registry: names in, objects out, and help with names that are not there."""

import pytest

from resnet_backbone.registry import Registry


@pytest.fixture
def shapes():
    registry = Registry("shape")
    for name in ("circle", "square", "squircle"):
        registry.register(name)(name.upper())
    return registry


def test_what_was_registered_comes_back(shapes):
    assert shapes.get("square") == "SQUARE"
    assert "square" in shapes
    assert "line" not in shapes


def test_the_decorator_returns_what_it_decorates():
    registry = Registry("function")

    @registry.register("double")
    def double(x):
        return 2 * x

    assert double(2) == 4
    assert registry.get("double") is double


def test_a_name_is_taken_once(shapes):
    with pytest.raises(KeyError, match="shape 'circle' is already registered"):
        shapes.register("circle")("other")
    assert shapes.get("circle") == "CIRCLE"


def test_names_are_sorted_and_match_a_pattern(shapes):
    assert shapes.names() == ["circle", "square", "squircle"]
    assert shapes.names("squ*") == ["square", "squircle"]
    assert shapes.names("*gon") == []


def test_a_misspelt_name_gets_the_close_ones(shapes):
    with pytest.raises(KeyError) as caught:
        shapes.get("sqare")
    assert caught.value.args[0] == "unknown shape 'sqare'; did you mean square or squircle?"


def test_a_name_like_no_other_gets_all(shapes):
    with pytest.raises(KeyError) as caught:
        shapes.get("xyz")
    message = "unknown shape 'xyz'; known: ['circle', 'square', 'squircle']"
    assert caught.value.args[0] == message


def test_registries_are_separate(shapes):
    assert Registry("shape").names() == []
    assert shapes.names()


def test_an_entry_may_be_stored_under_its_own_name():
    registry = Registry("function")

    @registry.register
    def double(x):
        return 2 * x

    @registry.register
    class Half:
        pass

    assert registry.get("double") is double and double(2) == 4
    assert registry.get("Half") is Half
    with pytest.raises(KeyError, match="'double' is already registered"):
        registry.register(double)


def test_an_entry_without_a_name_needs_one():
    registry = Registry("number")
    with pytest.raises(TypeError, match=r"number 3 has no __name__; use register\(name\)"):
        registry.register(3)
    registry.register("three")(3)
    assert registry.get("three") == 3
