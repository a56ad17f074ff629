"""Pickled arrays as Python 2 and 3 wrote them, and everything that is no array refused."""

import io
import pickle
import pickletools
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from evil_pickles import NAMED, NAMELESS, nothing_runs, short, text
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.unpickle import unpickle_arrays

DTYPES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 >f4 >i8".split()
ARRAY = np.arange(6, dtype="f4").reshape(2, 3)


def assert_same(actual, expected):
    assert type(actual) is (dict if isinstance(expected, dict) else type(expected))
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)
    else:
        assert actual == expected


@settings(max_examples=100, deadline=None)
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    order=st.sampled_from("CF"),
    protocol=st.integers(2, 5),
)
def test_arrays_of_every_kind(array, order, protocol):
    array = np.array(array, order=order)
    content = pickle.dumps({"a": array, "again": array}, protocol)
    with nothing_runs():
        actual = unpickle_arrays(content)
    assert_same(actual, {"a": array, "again": array})
    assert actual["a"] is actual["again"]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_checkpoint_of_detectron2(protocol):
    """As its scripts write them: pickle.dump of arrays, beside who made it."""
    content = {
        "model": OrderedDict([("stem.conv1.weight", ARRAY), ("stem.conv1.norm.bias", ARRAY[0])]),
        "__author__": "torchvision",
        "matching_heuristics": True,
        "others": [1, -2.5, None, False, 10**20, (), ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), b""],
        7: {"lr": b"bytes\xff", "long": "é" * 300},
    }
    assert_same(unpickle_arrays(pickle.dumps(content, protocol)), content)
    scalar = unpickle_arrays(pickle.dumps([np.float64(0.25), np.int64(3), np.bool_(True)]))
    assert scalar == [0.25, 3, True] and [type(n) for n in scalar] == [float, int, bool]


def python2(shape: tuple[int, ...], data: bytes) -> bytes:
    """{"blobs": {"conv1_w": array}} as Python 2.7 and its numpy write it, opcode by opcode."""

    def string(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\nq\x05" + string(b"f4") + b"K\x00K\x01\x87q\x06R" + b"q\x07(K\x03"
    dtype += string(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x08b"
    lengths = b"(" + b"".join(b"K" + bytes([n]) for n in shape) + b"tq\x04"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
    array += string(b"b") + b"\x87q\x03R(K\x01" + lengths + dtype
    array += b"\x89T" + struct.pack("<i", len(data)) + data + b"tq\x09b"
    return b"\x80\x02}q\x00" + string(b"blobs") + b"}" + string(b"conv1_w") + array + b"ss."


def test_a_checkpoint_of_python_2():
    """Its strings are bytes; Python's own unpickler needs encoding="latin1" for them."""
    array = np.array([[-1.5, 3e38], [1e-40, 0.0]], "<f4")
    content = python2((2, 2), array.tobytes())
    assert_same(pickle.loads(content, encoding="latin1"), {"blobs": {"conv1_w": array}})  # noqa: S301
    assert_same(unpickle_arrays(content), {"blobs": {"conv1_w": array}})


def test_an_ordered_dictionary_of_python_2():
    """There it is pickled with its items as the argument."""
    items = b"](](U\x01aK\x01e](U\x01bK\x02ee"
    content = b"\x80\x02ccollections\nOrderedDict\n" + items + b"\x85R."
    expected = {"a": 1, "b": 2}
    assert pickle.loads(content, encoding="latin1") == OrderedDict(expected)  # noqa: S301
    assert_same(unpickle_arrays(content), expected)


def test_arrays_are_not_copied():
    content = pickle.dumps(np.zeros(2**20, "u1"), 4)
    tracemalloc.start()
    unpickle_arrays(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * len(content)


@pytest.mark.parametrize("name", NAMED)
def test_globals_are_refused_by_name_before_anything_runs(name):
    with nothing_runs(), pytest.raises(WeightsError) as error:
        unpickle_arrays(NAMED[name])
    assert f"refused, nothing was run: the pickle names {name}," in str(error.value)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_pickle_writes_of_a_call(protocol):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("touch executed",)

    content = pickle.dumps({"model": {"a": ARRAY}, "evil": Evil()}, protocol)
    with nothing_runs(), pytest.raises(WeightsError, match=r"names (posix|nt)\.system,"):
        unpickle_arrays(content)


@pytest.mark.parametrize("name", [n for n in NAMELESS if n != "nesting"])
def test_what_else_is_not_an_array_is_refused(name):
    with nothing_runs(), pytest.raises(WeightsError, match="the pickle "):
        unpickle_arrays(NAMELESS[name])


@pytest.mark.parametrize("name", ["x" * 200, "line\nend", "\x1b[2J"])
def test_names_cannot_break_the_message(name):
    with pytest.raises(WeightsError) as error:
        unpickle_arrays(stack_named("os", name))
    assert str(error.value).isprintable() and len(str(error.value)) < 300


def test_the_text_protocol_is_refused():
    with pytest.raises(WeightsError, match="opcode DICT"):
        unpickle_arrays(pickle.dumps({"a": 1, "b": 2}, 0))


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.array([1j]),
        np.zeros(2, np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_other_things_are_refused(array, protocol):
    with nothing_runs(), pytest.raises(WeightsError, match="array of dtype '|names "):
        unpickle_arrays(pickle.dumps({"a": array}, protocol))


def rebuilt(shape: bytes, data: bytes = b"C\x04abcd", dtype: bytes = b"U\x02f4") -> bytes:
    """An array by its parts."""
    made = b"cnumpy\ndtype\n" + dtype + b"K\x00K\x01\x87R"
    made += b"(K\x03U\x01<NNNK\x00K\x00K\x00tb"
    return (
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n)R(K\x01" + shape + made + b"\x89" + data
    ) + b"tb."


def test_the_arrays_of_the_next_test_are_read_when_right():
    assert unpickle_arrays(rebuilt(b"K\x01\x85")).tobytes() == b"abcd"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (rebuilt(b"K\x02\x85"), r"4 bytes for an array of shape \[2\], float32"),
        (rebuilt(b"J\xff\xff\xff\xff\x85"), "shape is none"),
        (rebuilt(b"\x8a\x09" + b"\xff" * 8 + b"\0\x85"), "shape is none"),
        (rebuilt(b"K\x00" + b"\x8a\x05" + b"\xff" * 4 + b"\0\x86"), "4 bytes for"),
        (rebuilt(b"N\x85"), "shape is none"),
        (rebuilt(b"(" + b"K\x01" * 65 + b"t"), "shape is none"),
        (rebuilt(b"]"), "a list where a tuple belongs"),
        (rebuilt(b"K\x01\x85", data=b"]"), "an array of list"),
        (rebuilt(b"K\x01\x85", data=b"X\x04\0\0\0ab\xc4\x80"), "damaged .UnicodeEncodeError"),
        (rebuilt(b"K\x01\x85", dtype=b"U\x01O"), "dtype 'O'"),
        (rebuilt(b"K\x01\x85", dtype=b"]"), "a list where a name belongs"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls a _Global"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "opcode NEWOBJ"),
        (b"\x80\x02cbuiltins\nbytes\n\x8a\x05\0\0\0\0\x01\x85R.", "makes bytes"),
        (b"\x80\x02c_codecs\nencode\n" + text("a") + text("bz2") + b"\x86R.", "as 'bz2'"),
        (b"\x80\x02}" + b")s.", "damaged"),
        (b"\x80\x02}))s.", "key that is a tuple"),
        (b"\x80\x02}\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns.", "key that is a int"),
        (b"\x80\x02}.more", "followed by other data"),
        (pickle.dumps({}, 2) * 2, "followed by other data"),
        (b"\x80\x02" + b"N0" * 3 + b".", "opcode POP"),
    ],
)
def test_arrays_that_are_not_what_they_say(content, reason):
    with nothing_runs(), pytest.raises(WeightsError, match=reason):
        unpickle_arrays(content)


def test_small_files_cannot_become_large_objects():
    """The same bytes for many arrays; a memo with one far index; opcodes without end."""
    data = b"B" + struct.pack("<I", 10_000) + bytes(10_000) + b"\x94"
    array = rebuilt(b"M\xc4\x09\x85", data=b"h\x00")[2:-1]
    content = b"\x80\x04" + data + array * 50 + b"."
    with pytest.raises(WeightsError, match="arrays are larger than the file"):
        unpickle_arrays(content)
    tracemalloc.start()
    assert unpickle_arrays(b"\x80\x02}r\xff\xff\xff\x7f.") == {}
    with pytest.raises(WeightsError, match="more than 500000 opcodes"):
        unpickle_arrays(b"\x80\x02" + b"N" * 600_000 + b".")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_nested_sharing_costs_nothing():
    """A tuple of twice itself, 200 times: hashing or showing it would never end."""
    tuples = b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(200))
    assert type(unpickle_arrays(b"\x80\x04" + tuples + b".")) is tuple
    for content, reason in (
        (b"}" + tuples + b"Ns.", "has a key that is a tuple"),
        (b"c_codecs\nencode\n" + tuples + text("latin1") + b"\x86R.", "a tuple where a name"),
        (b"cnumpy\ndtype\n" + tuples + b"\x85R.", "a tuple where a name"),
        (rebuilt(tuples)[2:], "shape is none"),
    ):
        with pytest.raises(WeightsError, match=reason):
            unpickle_arrays(b"\x80\x04" + content)


GOOD = [
    pickle.dumps({"model": {"a": ARRAY, "b": np.float64(2)}, "x": [1, (2.0, None)]}, protocol)
    for protocol in range(2, 6)
] + [python2((1, 1), b"abcd")]
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=1500, deadline=None)
@given(
    content=st.sampled_from([*GOOD, *NAMED.values()]),
    edits=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.integers(0, 3),
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from(OPCODES)),
        ),
        max_size=4,
    ),
)
def test_damaged_pickles_end_in_a_weights_error_or_in_plain_things(content, edits):
    for place, removed, added in edits:
        position = int(place * len(content))
        content = content[:position] + added + content[position + removed :]
    with nothing_runs():
        try:
            unpickle_arrays(content)
        except WeightsError as error:
            assert "\n" not in str(error)


def test_the_witness_does_see():
    content = stack_named("builtins", "len")
    with pytest.raises(AssertionError), nothing_runs():
        pickle.Unpickler(io.BytesIO(content)).load()  # noqa: S301


def stack_named(module: str, name: str) -> bytes:
    return b"\x80\x04" + short(module) + short(name) + b"\x93."
