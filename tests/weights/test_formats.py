"""Formats are told by their bytes, and a bad file of each ends in a line that says why."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from evil_pickles import NAMED, in_zip, nothing_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.files import read_state_dict

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}
SUFFIXES = (".pth", ".pt", ".th", ".pyth", ".pkl", ".npz", ".safetensors", ".bin", ".pth.tar", "")


def saved(**options: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"model": STATE, "epoch": 3}, file, **options)
    return file.getvalue()


def zipped(save) -> bytes:
    file = io.BytesIO()
    save(file, **ARRAYS)
    return file.getvalue()


FILES = {
    "zip": saved(),
    "legacy": saved(_use_new_zipfile_serialization=False),
    "pickle": pickle.dumps({"model": ARRAYS, "__author__": "x"}, 4),
    "npz": zipped(np.savez),
    "compressed npz": zipped(np.savez_compressed),
    "safetensors": safetensors.torch.save(STATE),
}


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """What readers import when they are first used counts as exec."""
    for name, content in FILES.items():
        path = tmp_path_factory.mktemp("first") / name
        path.write_bytes(content)
        read_state_dict(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", FILES)
def test_each_format_under_any_name(tmp_path, kind, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(FILES[kind])
    with nothing_runs():
        state = read_state_dict(path)
    assert sorted(state) == sorted(STATE)
    assert all(torch.equal(state[n], STATE[n]) and state[n].dtype == STATE[n].dtype for n in STATE)


@pytest.mark.parametrize("kind", FILES)
def test_files_cut_short(tmp_path, kind):
    """At every fiftieth of the length, under every name that goes with the format."""
    content = FILES[kind]
    suffixes = {"pickle": (".pkl",), "safetensors": (".safetensors",)}.get(kind, (".pth", ".npz"))
    for part in range(1, 50):
        path = tmp_path / f"w{suffixes[part % len(suffixes)]}"
        path.write_bytes(content[: len(content) * part // 50])
        with pytest.raises(WeightsError) as error:
            read_state_dict(path)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@settings(max_examples=600, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), st.binary(max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_a_weights_error_or_in_tensors(tmp_path_factory, kind, edits):
    content = FILES[kind]
    for place, removed, added in edits:
        position = int(place * len(content))
        content = content[:position] + added + content[position + removed :]
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content)
    with nothing_runs():
        try:
            state = read_state_dict(path)
        except WeightsError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_objects_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{"a": 1}], dtype=object))
    with nothing_runs(), pytest.raises(WeightsError, match="allow_pickle=False"):
        read_state_dict(tmp_path / "w.npz")


def test_pickles_in_npz_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", NAMED["os.system"])
    with nothing_runs(), pytest.raises(WeightsError, match=r"w\.npz: "):
        read_state_dict(tmp_path / "w.npz")


def test_archives_that_unpack_without_measure_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(2**27, "u1"))
    with pytest.raises(WeightsError, match="refused: the archive unpacks to over 100 times"):
        read_state_dict(tmp_path / "w.npz")


def test_an_array_header_that_lies(tmp_path):
    """Two to the fortieth numbers announced, none there: refused, and no memory taken."""
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(WeightsError, match=r"w\.npz: "):
        read_state_dict(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 7 + b"\x7f{",
        (2**20).to_bytes(8, "little") + b'{"a":',
        (26).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}     ',
        (2).to_bytes(8, "little") + b"{}more",
        (64).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9,9],"data_offsets":[0,4]}}        '
        + bytes(4),
    ],
)
def test_safetensors_that_lie(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.safetensors: not a readable weight file"):
        read_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>", "this is a web page"),
        (b"\xef\xbb\xbf\n <html>", "this is a web page"),
        (b'{"weight_map": {}}', "JSON text, not weights; the index of a sharded model"),
        (b"\n[1, 2]", "JSON text, not weights"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "this is an ONNX model"),
        (pickle.dumps({"a": np.ones(2)}, 0), "of protocol 0 or 1; .*protocol=2"),
        (pickle.dumps({"a": np.ones(2)}, 1), "of protocol 0 or 1; .*protocol=2"),
        (pickle.dumps({"a": torch.ones(2)}), "names torch._utils.*save its tensors by torch.save"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_what_people_have_under_a_weight_files_name(tmp_path, content, what, suffix):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with nothing_runs(), pytest.raises(WeightsError, match=what) as error:
        read_state_dict(tmp_path / f"w{suffix}")
    assert "\n" not in str(error.value)


def test_an_archive_of_other_files_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("weights/r50.pth", b"x")
    with pytest.raises(WeightsError, match=r"entries \(weights/r50\.pth\) are not .*unpack it"):
        read_state_dict(tmp_path / "w.zip")


def test_keys_that_collide_are_refused_at_once(tmp_path):
    """Python's hash of an integer is its rest modulo 2**61 - 1: 30,000 such keys took minutes."""
    content = dict.fromkeys((k * (2**61 - 1) for k in range(1, 5002)), 0)
    (tmp_path / "w.pth").write_bytes(in_zip(pickle.dumps(content, 2)))
    with pytest.raises(WeightsError, match=r"more than 5000 integers over 2\*\*48"):
        read_state_dict(tmp_path / "w.pth")
