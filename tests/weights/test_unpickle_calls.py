"""What stands for the globals of pickled arrays; whole pickles are in test_unpickle."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.unpickle import global_name
from resnet_backbone.weights.unpickle_calls import (
    CALLS,
    GLOBALS,
    Budget,
    Pending,
    as_text,
    as_tuple,
    plain_dict,
)

DTYPES = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split()
MANY = Budget(10**9)


def call(name, *arguments, budget=None):
    return CALLS[name](budget or Budget(10**9), *arguments)


def dtype(code, order="<"):
    pending = call("numpy.dtype", code, False, True)
    assert isinstance(pending, Pending)
    return pending.build(MANY, (3, order, None, None, None, -1, -1, 0))


def array(data, kind, shape, order="C"):
    return call("numpy._core.numeric._frombuffer", data, kind, shape, order)


class Names(pickle.Unpickler):
    """Python's own, which writes down what it is asked for."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self.found = set()

    def find_class(self, module, name):
        self.found.add(global_name(module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_they_are_all_that_pickled_arrays_ask_for(protocol):
    values = [
        OrderedDict(a=np.ones((2, 3), "f4", order="F")),
        {"scalar": np.float64(2), "truth": np.bool_(True), "bytes": b"\xff"},
        np.zeros(0, ">i8"),
        np.array(3),
    ]
    names = Names(pickle.dumps(values, protocol))
    names.load()
    assert len(names.found) >= 4 and names.found <= GLOBALS


def test_both_places_that_numpy_has_had_for_a_function_mean_the_same():
    for name, function in CALLS.items():
        if name.startswith("numpy._core."):
            assert CALLS[name.replace("_core", "core")] is function
    assert set(CALLS) < GLOBALS


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda code: hnp.arrays(code, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    st.sampled_from("CF"),
    st.sampled_from("<>"),
)
def test_arrays_are_numpys(expected, order, byte_order):
    code = expected.dtype.str[1:]
    expected = expected.astype(expected.dtype.newbyteorder(byte_order))
    found = array(expected.tobytes(order), dtype(code, byte_order), expected.shape, order)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()
    assert not found.flags.writeable


def test_a_reconstructed_array_is_finished_by_its_state():
    pending = call("numpy._core.multiarray._reconstruct", "ndarray", (0,), b"b")
    data = np.arange(6, dtype="<i2")
    found = pending.build(MANY, (1, (2, 3), dtype("i2"), False, data.tobytes()))
    np.testing.assert_array_equal(found, data.reshape(2, 3))
    turned = pending.build(MANY, (1, (2, 3), dtype("i2"), True, data.tobytes()))
    np.testing.assert_array_equal(turned, data.reshape(3, 2).T)


@pytest.mark.parametrize("value", [np.float64(0.1), np.int32(-7), np.bool_(True), np.float16(1.5)])
def test_scalars_become_pythons(value):
    found = call("numpy._core.multiarray.scalar", dtype(value.dtype.str[1:]), value.tobytes())
    assert found == value.item() and type(found) is type(value.item())


def test_text_of_python_2_is_bytes_by_latin_1():
    """`_codecs.encode` is how protocol 2 writes bytes."""
    every = bytes(range(256))
    assert call("_codecs.encode", every.decode("latin-1"), "latin1") == every
    assert call("builtins.bytes") == b""
    floats = np.ones(2, "<f4")
    as_text_ = floats.tobytes().decode("latin-1")
    np.testing.assert_array_equal(array(as_text_, dtype("f4"), (2,)), floats)


def test_dictionaries_keep_their_order():
    assert list(call("collections.OrderedDict", [["b", 1], ("a", 2)]).items()) == [
        ("b", 1),
        ("a", 2),
    ]
    assert call("collections.OrderedDict") == {}


# --- refusals ---


@pytest.mark.parametrize("code", ["O", "U3", "S1", "V8", "M8", "m8", "c8", "f16", "g", "", "F4"])
def test_other_dtypes_are_refused(code):
    with pytest.raises(WeightsError, match=f"the pickle has an array of dtype '{code}'"):
        call("numpy.dtype", code)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((3, "=", None, None, None), "without byte order"),
        ((3, None, None, None, None), "without byte order"),
        ((3, "<", ("f4", 2), None, None), "structured array"),
        ((3, "<", None, ("a",), {"a": 1}), "structured array"),
        ([3, "<", None, None, None], "a list where a tuple belongs"),
    ],
)
def test_dtypes_that_are_more_than_numbers_are_refused(state, message):
    with pytest.raises(WeightsError, match=message):
        call("numpy.dtype", "f4").build(MANY, state)


@pytest.mark.parametrize(
    ("data", "kind", "shape", "message"),
    [
        (b"abcd", dtype("f4"), (2,), r"4 bytes for an array of shape \[2\], float32"),
        (b"abcd", dtype("f4"), (), None),
        (b"", dtype("f4"), (0, 5), None),
        (b"abcd", dtype("f4"), (-1,), "shape is none"),
        (b"abcd", dtype("f4"), (1.0,), "shape is none"),
        (b"abcd", dtype("f4"), (2**48,), "shape is none"),
        (b"", dtype("f4"), (0, 2**48 - 1), None),
        (b"abcd", dtype("f4"), (1,) * 65, "shape is none"),
        (b"abcd", dtype("f4"), [1], "a list where a tuple belongs"),
        (b"abcd", "f4", (1,), "an array without dtype"),
        ([1, 2], dtype("f4"), (1,), "an array of list"),
        (None, dtype("f4"), (1,), "an array of NoneType"),
    ],
)
def test_arrays_that_are_not_what_they_say_are_refused(data, kind, shape, message):
    if message is None:
        assert array(data, kind, shape).shape == shape
    else:
        with pytest.raises(WeightsError, match=message):
            array(data, kind, shape)


def test_copies_come_off_a_budget_that_ends():
    budget = Budget(10)
    for left in (6, 2):
        call("numpy._core.numeric._frombuffer", b"abcd", dtype("f4"), (1,), "C", budget=budget)
        assert budget.left == left
    with pytest.raises(WeightsError, match="arrays are larger than the file"):
        call("_codecs.encode", "abc", "latin1", budget=budget)


@pytest.mark.parametrize("encoding", ["utf-8", "bz2", "rot13", "idna"])
def test_no_other_codec_is_asked(encoding):
    with pytest.raises(WeightsError, match=f"encodes text as '{encoding}'"):
        call("_codecs.encode", "a", encoding)


def test_bytes_are_made_of_nothing_alone():
    for content in (5, b"x", [1]):
        with pytest.raises(WeightsError, match="makes bytes of something that is not in it"):
            call("builtins.bytes", content)


class Loud:
    """Cannot be looked at without being noticed."""

    def _refuse(self, *_arguments):
        raise AssertionError("was looked at")

    __hash__ = __eq__ = __repr__ = __str__ = __len__ = __iter__ = __bool__ = _refuse


@pytest.mark.parametrize("value", [Loud(), (), 5, b"x", None, ["a"]])
def test_only_text_is_a_name(value):
    with pytest.raises(WeightsError, match=f"a {type(value).__name__} where a name belongs"):
        as_text(value)
    assert as_text("x") == "x"


@pytest.mark.parametrize("value", [Loud(), [], "abc", None])
def test_only_a_tuple_is_one(value):
    with pytest.raises(WeightsError, match=f"a {type(value).__name__} where a tuple belongs"):
        as_tuple(value)
    assert as_tuple((1,)) == (1,)


@pytest.mark.parametrize("key", [Loud(), (), 1.0, True, b"x", None, 2**60, -(2**60), 2**61 - 1])
def test_keys_whose_hashes_could_cost_or_collide_are_refused(key):
    with pytest.raises(WeightsError, match=f"has a key that is a {type(key).__name__}"):
        plain_dict([(key, 1)])


def test_names_and_numbers_are_keys():
    assert plain_dict([("a", 1), (5, 2), (-(2**60) + 1, 3)]) == {"a": 1, 5: 2, -(2**60) + 1: 3}
