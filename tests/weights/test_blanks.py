"""Objects beside weights: which are read as blanks, and that nothing of them is run."""

import collections
import datetime
import enum
import pathlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from evil_pickles import NAMED, nothing_runs

from resnet_backbone.weights.blanks import Blank, blank_class, dict_class, is_side_object
from resnet_backbone.weights.files import read_state_dict

STATE = {"conv1.weight": torch.ones(3)}


class HistoryBuffer:
    """As mmengine's: arrays in a dictionary of attributes."""

    def __init__(self):
        self._log = np.arange(3.0)


class AttributeDict(dict):
    """As Lightning's hyper_parameters."""


class Names(list):
    """A list of a library's own."""


class Slots:
    __slots__ = ("value",)

    def __init__(self):
        self.value = {1, 2}


class Mode(enum.Enum):
    MIN = "min"


OBJECTS = {
    "object": HistoryBuffer(),
    "dictionary": AttributeDict(lr=0.1, optimizer=HistoryBuffer),
    "list": Names([1, HistoryBuffer()]),
    "slots": Slots(),
    "enum": Mode.MIN,
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2]),
    "time": datetime.datetime(2024, 5, 6),
    "path": pathlib.PurePosixPath("x"),
}


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """Puts the classes into a module of another library, which cannot be imported afterwards."""
    library = types.ModuleType("somebodys_library")
    for made in (HistoryBuffer, AttributeDict, Names, Slots, Mode):
        monkeypatch.setattr(made, "__module__", library.__name__)
        setattr(library, made.__name__, made)
    sys.modules[library.__name__] = library
    yield
    sys.modules.pop(library.__name__, None)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("which", [*OBJECTS, "all"])
def test_torchs_files_are_read_past_side_objects(tmp_path, which, zipped):
    beside = OBJECTS if which == "all" else {which: OBJECTS[which]}
    path = tmp_path / "w.pth"
    torch.save({"state_dict": STATE, **beside}, path, _use_new_zipfile_serialization=zipped)
    del sys.modules["somebodys_library"]
    read_state_dict(path)  # what is imported at first use counts as exec
    with nothing_runs():
        found = read_state_dict(path)
    assert list(found) == list(STATE) and torch.equal(found["conv1.weight"], torch.ones(3))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_arrays_are_read_past_side_objects(tmp_path, protocol):
    content = {"model": {"conv1.weight": np.ones(3, "f4")}, **OBJECTS}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol))
    del sys.modules["somebodys_library"]
    with nothing_runs():
        found = read_state_dict(tmp_path / "w.pkl")
    assert torch.equal(found["conv1.weight"], torch.ones(3))


def test_an_object_in_place_of_the_weights_is_named(tmp_path):
    torch.save({"model": HistoryBuffer()}, tmp_path / "w.pth")
    with pytest.raises(Exception, match=r"found only 'model' .*somebodys_library.HistoryBuffer"):
        read_state_dict(tmp_path / "w.pth")


def test_an_object_among_the_weights_is_left_out_and_named(tmp_path, caplog):
    torch.save(STATE | {"config": HistoryBuffer()}, tmp_path / "w.pth")
    assert list(read_state_dict(tmp_path / "w.pth")) == list(STATE)
    assert "left out objects that are no tensors: somebodys_library.HistoryBuffer" in caplog.text


@pytest.mark.parametrize("name", NAMED)
def test_nothing_that_hostile_files_name_is_a_side_object(name):
    assert not is_side_object(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mmengine.logging.history_buffer.HistoryBuffer", True),
        ("omegaconf.dictconfig.DictConfig", True),
        ("__main__._Config", True),
        ("somebodys.function", False),
        ("torch.nn.modules.linear.Linear", False),
        ("subprocess.Popen", False),
        ("numpy.testing.Tester", False),
        ("a.B\nc", False),
    ],
)
def test_classes_of_others_are_functions_are_not(name, expected):
    assert is_side_object(name) is expected


def test_blanks_forget_and_remember_their_class_alone():
    blank = blank_class("a.B")(1, 2)
    blank.append(3)
    blank.extend([4])
    blank.__setstate__({"x": 5})
    assert isinstance(blank, Blank) and blank.of == "a.B" and list(blank) == []
    assert blank != blank_class("a.B")() and len({blank: 1}) == 1
    assert dict_class("a.B")("anything") == {}
