"""Weight files: what is read, what is refused and why, and that writing is all or nothing."""

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.weights.files import read_metadata, read_state_dict, save_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


def assert_equal(actual, expected):
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[k], expected[k]) for k in expected)


class Evil:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"lr": 0.1}},
        {"model": {f"module.{k}": v for k, v in STATE.items()}},
        {f"module.{k}": v for k, v in STATE.items()},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_wrappers_are_taken_off(tmp_path, content, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save(content, path)
    assert_equal(read_state_dict(path), STATE)


def test_torchs_format_before_1_6_is_read(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    assert_equal(read_state_dict(str(path)), STATE)


def test_round_trip_with_card(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(STATE, path, {"source": "here"})
    loaded = read_state_dict(path)
    assert all(
        torch.equal(loaded[k], STATE[k]) and loaded[k].dtype == STATE[k].dtype for k in STATE
    )
    assert read_metadata(path) == {"source": "here"}
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_card_is_empty_where_there_is_none(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "w.safetensors")
    assert read_metadata(tmp_path / "w.safetensors") == {}


def test_modules_views_and_shared_memory_are_stored(tmp_path):
    path = tmp_path / "w.safetensors"
    conv = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    save_weights(conv, path, {})
    assert_equal(
        dict(sorted(read_state_dict(path).items())), dict(sorted(conv.state_dict().items()))
    )
    base = torch.arange(6.0)
    save_weights({"all": base, "even": base[::2], "again": base}, path, {})
    assert torch.equal(read_state_dict(path)["even"], base[::2])


def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, monkeypatch):
    # This variable overrides torch.load's default, and must not override ours.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trap = tmp_path / "executed"
    torch.save({"model": STATE, "extra": Evil(trap)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(trap)))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(WeightsError, match=rf"{name}: refused, nothing was run: .* names "):
            read_state_dict(tmp_path / name)
    assert not trap.exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())  # noqa: S301 - the trap does work
    assert trap.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("reader", [read_state_dict, read_metadata])
def test_missing_and_empty_files(tmp_path, name, reader):
    path = tmp_path / name
    with pytest.raises(WeightsError, match=rf"{name}: no such file"):
        reader(path)
    with pytest.raises(WeightsError, match="is a folder"):
        reader(tmp_path)
    path.touch()
    with pytest.raises(WeightsError, match=rf"{name}: the file is empty"):
        reader(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"x", r"not a weight file: expected the content of a \.safetensors, \.pth .* file"),
        (b"7z\xbc\xaf\x27\x1c....", "a 7-Zip archive"),
        (b"\x1f\x8b....", "a gzip archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (bytes(257) + b"ustar  \0", "a tar archive"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, content, what):
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"w\.bin: .*{what}"):
        read_state_dict(tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([torch.ones(1)], "found list"),
        ({}, "found nothing"),
        ({"model": {}}, "found nothing"),
        (torch.ones(1), "found a torch.strided"),
        ({"epoch": 3, "weight": 0.5}, "found only 'epoch', 'weight'"),
        ({"a": torch.ones(1), "more": {"b": torch.ones(1)}}, "found dict at 'more'"),
        ({0: torch.ones(1)}, "tensor on cpu at 0"),
    ],
)
def test_files_of_something_else(tmp_path, content, found):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"w\.pth: expected .*{found}"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_end_in_a_weights_error_or_in_tensors(tmp_path_factory, data):
    """Cut short or with one byte changed; safetensors has no checksum, so values may differ."""
    path = tmp_path_factory.mktemp("damaged") / data.draw(
        st.sampled_from(["w.pth", "w.safetensors"])
    )
    if path.suffix == ".pth":
        torch.save(STATE, path)
    else:
        save_weights(STATE, path, {})
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    cut = data.draw(st.booleans())
    if cut:
        content = content[:position]
    else:
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        state = read_state_dict(path)
    except WeightsError as error:
        assert str(path) in str(error)
    else:
        assert not cut
        assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_saved(tmp_path, value):
    path = tmp_path / "w.safetensors"
    save_weights(STATE, path, {})
    with pytest.raises(WeightsError, match=r"w\.safetensors: not saved, NaN or infinity in b$"):
        save_weights({"a": torch.ones(1), "b": torch.tensor([1.0, value])}, path, {})
    assert set(read_state_dict(path)) == set(STATE)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, step):
    path = tmp_path / "w.safetensors"
    save_weights(STATE, path, {"version": "old"})

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(StorageError, match=r"w\.safetensors: cannot be written: No space left"):
        save_weights(STATE, path, {"version": "new"})
    assert read_metadata(path) == {"version": "old"}
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_file_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    save_weights(STATE, tmp_path / "w.safetensors", {})
    assert events == ["fsync", "rename", "fsync"]


def test_saving_into_no_folder(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        save_weights(STATE, tmp_path / "none" / "w.safetensors", {})


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "other").touch()
    save_weights(STATE, tmp_path / "w.safetensors", {})
    modes = [(tmp_path / name).stat().st_mode for name in ("other", "w.safetensors")]
    assert modes[0] == modes[1]


def test_folders_name_the_weight_files_in_them(tmp_path):
    with pytest.raises(WeightsError, match="is a folder without weight files in it"):
        read_state_dict(tmp_path)
    save_weights(STATE, tmp_path / "model.safetensors", {})
    with pytest.raises(WeightsError, match=r"is a folder; give a file in it: model\.safetensors"):
        read_metadata(tmp_path)


def test_a_missing_file_gets_the_close_name(tmp_path):
    save_weights(STATE, tmp_path / "resnet50.safetensors", {})
    with pytest.raises(WeightsError, match=r"no such file; did you mean resnet50\.safetensors\?"):
        read_state_dict(tmp_path / "resnet_50.safetensors")
    with pytest.raises(WeightsError, match="no such file .there is no folder "):
        read_state_dict(tmp_path / "absent" / "w.pth")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_weights(STATE, tmp_path / "w.safetensors", {"a": "b"})
    assert read_state_dict("~/w.safetensors").keys() == STATE.keys()
    assert read_metadata("~/w.safetensors") == {"a": "b"}


def test_a_part_of_a_model_is_no_model(tmp_path):
    path = tmp_path / "model-00001-of-00002.safetensors"
    save_weights(STATE, path, {})
    with pytest.raises(WeightsError, match="is part 1 of 2 of a model; join"):
        read_state_dict(path)
    save_weights(STATE, tmp_path / "model-00001-of-00001.safetensors", {})
    whole = read_state_dict(tmp_path / "model-00001-of-00001.safetensors")
    assert whole.keys() == STATE.keys()
