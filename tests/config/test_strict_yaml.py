"""The YAML reader: what YAML 1.2's core schema says, and refusal of everything else."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.config.strict_yaml import (
    MAX_BYTES,
    MAX_KEY,
    MAX_VALUES,
    read_file,
    read_text,
    write_text,
)
from resnet_backbone.errors import ConfigError


def value_of(text):
    return read_text(text, "here")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # the examples of YAML 1.2.2, section 10.3.2, and what YAML 1.1 reads differently
        ("null", None), ("~", None), ("", None), ("NULL", None),
        ("true", True), ("False", False),
        ("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19), ("+12", 12), ("0123", 123),
        ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0),
        ("1e-4", 1e-4), ("1E5", 1e5), (".inf", math.inf), ("-.Inf", -math.inf),
        ("off", "off"), ("yes", "yes"), ("No", "No"), ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"), ("=", "="), ("<<", "<<"), ("inf", "inf"), ("1e", "1e"), ("-", [None]),
        ("'1'", "1"), ('"true"', "true"), ("output/{name}", "output/{name}"),
        ("[1, [2.5, a]]", [1, [2.5, "a"]]), ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_2_says(text, expected):
    value = value_of(text)
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number():
    assert math.isnan(value_of(".nan"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "here, line 3: duplicate key 'a'; first on line 1"),
        ("a:\n  b: 1\n  b: 1", "here, line 3: duplicate key 'b'; first on line 2"),
        ("- {a: 1, a: 2}\n", "here, line 1: duplicate key 'a'; first on line 1"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "here, line 2: tags (!) are not allowed"),
        ("a: !x y\n", "here, line 1: tags (!) are not allowed"),
        ("a: &x 1\n", "here, line 1: anchors and aliases"),
        ("a: *x\n", "here, line 1: anchors and aliases"),
        ("a: [1\n", "here, line 2:"),
        ("a: 1\n---\nb: 1\n", "here, line 2: but found another document"),
        ("1: a\n", "here, line 1: a key must be text"),
        ("? [a]\n: b\n", "here, line 1: a key must be text"),
        ("a: 12345678901234567890\n", "here, line 1: integer of 20 characters"),
        ("a: \x00\n", "here: character 3: special characters are not allowed"),
        ('a: "\\ud800"\n', "here, line 1: invalid Unicode in '\\ud800': half of a surrogate pair"),
        ('a: "\\UFFFFFFFF"\n', "here: "),
    ],
)
def test_what_is_refused_and_with_which_words(text, message):
    with pytest.raises(ConfigError) as caught:
        read_text(text, "here")
    assert str(caught.value).startswith(message)


def test_lines_of_nested_keys():
    _, lines = read_text("a:\n  b: 1\n  c:\n    d: 2\ne: 3\n", "here")
    expected = {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "d"): 4, ("e",): 5}
    assert lines == expected


@pytest.mark.parametrize("levels", [21, 10_000])
def test_depth_is_bounded(levels):
    for opening in ("[", "{a: "):
        with pytest.raises(ConfigError, match="nested more than 20 levels deep"):
            read_text(opening * levels, "here")


def test_twenty_levels_are_allowed():
    read_text("[" * 20 + "]" * 20, "here")


def test_an_alias_bomb_is_refused_before_it_grows():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="line 1: anchors and aliases"):
        read_text("\n".join(rows), "bomb")


def test_files_that_are_no_configuration(tmp_path):
    def refused(content: bytes) -> str:
        path = tmp_path / "bad.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_file(path)
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "not UTF-8 text, at byte 3" in refused(b"a: \xff")
    assert "larger than 1000000 bytes" in refused(b"#" * (MAX_BYTES + 1))
    assert "found list, expected 'key: value' lines" in refused(b"[1]")
    assert "found str, expected" in refused(b"hello")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_file(tmp_path)


def test_an_empty_file_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"# nothing but this\n")
    assert read_file(path) == ({}, {})
    path.write_bytes("\ufeffa: é\n".encode())
    assert read_file(path)[0] == {"a": "é"}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["1e-4", "0o7", "off", "yes", "~", "", "null", "1_0", "<<", "=", "0123", "-"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=8), TREES, max_size=4))
def test_what_is_written_reads_back_equal(tree):
    assert value_of(write_text(tree)) == tree


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(st.characters(categories=["L"]), min_size=1), SCALARS, max_size=4))
def test_what_is_written_means_the_same_to_other_readers(tree):
    # PyYAML is a YAML 1.1 reader; exponents without a dot are the one thing it knows no number in.
    assert yaml.safe_load(write_text(tree)) == tree


YAMLISH = st.text(st.sampled_from("ab01.:,-?&*!|>'\"%@`#{}[]<=~ \n\t\\xu/e+"), max_size=60)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=80) | YAMLISH)
def test_any_text_is_read_or_refused_with_a_config_error(text):
    try:
        read_text(text, "here")
    except ConfigError as error:
        assert str(error).startswith("here")


def test_the_number_of_values_and_the_length_of_keys_are_limited():
    assert len(value_of("[" + "1," * (MAX_VALUES - 1) + "]")) == MAX_VALUES - 1
    with pytest.raises(ConfigError, match="here: more than 20000 keys and values"):
        value_of("[" + "1," * MAX_VALUES + "]")
    assert value_of("k" * MAX_KEY + ": 1") == {"k" * MAX_KEY: 1}
    for text in ("k" * (MAX_KEY + 1) + ": 1", "? " + "k" * 100_000 + "\n: 1"):
        with pytest.raises(ConfigError, match="a key of .* characters, expected at most 200"):
            value_of(text)
