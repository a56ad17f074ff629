"""torch's files: what of them is let through to torch, and what is refused before."""

import argparse
import io
import pathlib
import pickle
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from evil_pickles import CONTAINERS, NAMED, NAMELESS, in_legacy, in_zip, nothing_runs
from torch import nn

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.blanks import Blank
from resnet_backbone.weights.files import read_state_dict
from resnet_backbone.weights.torch_file import load_torch_file

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """What zipfile and torch import when they are first used counts as exec."""
    path = tmp_path_factory.mktemp("first") / "w.pth"
    for zipped in (True, False):
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        read_state_dict(path)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", NAMED)
def test_globals_are_refused_by_name_before_anything_runs(tmp_path, name, container):
    path = tmp_path / "w.pth"
    path.write_bytes(CONTAINERS[container](NAMED[name]))
    with nothing_runs(), pytest.raises(WeightsError) as error:
        read_state_dict(path)
    text = f"w.pth: refused, nothing was run: the pickle names {name}, "
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_name_is_refused_as_well(tmp_path, name, container):
    path = tmp_path / "w.pth"
    path.write_bytes(CONTAINERS[container](NAMELESS[name]))
    with nothing_runs(), pytest.raises(WeightsError, match=r"w\.pth: "):
        read_state_dict(path)


def test_the_containers_do_carry(tmp_path):
    """With a harmless pickle in place of the evil ones, torch reads them."""
    for wrap in (in_zip, in_legacy):
        (tmp_path / "w.pth").write_bytes(wrap(pickle.dumps({"epoch": 3}, 2)))
        assert load_torch_file(tmp_path / "w.pth") == {"epoch": 3}


@pytest.mark.parametrize("zipped", [True, False])
def test_what_scripts_store_beside_weights_is_read_as_nothing(tmp_path, zipped):
    """A training checkpoint: optimizer, schedule, arguments, numpy's numbers, paths, versions."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint = {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "milestones": Counter([3, 5]),
        "args": argparse.Namespace(arch="resnet50", lr=0.1),
        "best": np.float64(76.1),
        "history": np.arange(3.0),
        "path": pathlib.Path("x"),
        "torch": torch.__version__,
        "device": torch.device("cpu"),
        "shape": torch.Size([1, 2]),
        "dtype": torch.float32,
        "seen": {1, 2},
        "raw": b"bytes",
    }
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    with nothing_runs():
        loaded = load_torch_file(path)
    for name in ("args", "best", "history", "path", "torch"):
        assert isinstance(loaded[name], Blank)
    assert loaded["milestones"] == {3: 1, 5: 1} and loaded["raw"] == b"bytes"
    state = read_state_dict(path)
    assert list(state) == ["weight", "bias"]
    assert torch.equal(state["weight"], model.weight)
    # torch itself refuses such files; nothing of this is left behind.
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind(tmp_path, dtype, zipped):
    base = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    state = OrderedDict(a=base, view=base.t(), again=base)
    if dtype.startswith("f"):
        state["parameter"] = nn.Parameter(base.clone())
    path = tmp_path / "w.th"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    loaded = read_state_dict(path)
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[n], t) and loaded[n].dtype == t.dtype for n, t in state.items())


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"a": torch.eye(2).to_sparse()}, "torch._utils._rebuild_sparse_tensor"),
        ({"a": torch.ones(1, device="meta")}, "torch._utils._rebuild_meta_tensor_no_storage"),
        ({"hook": print}, "builtins.print"),
    ],
)
def test_objects_that_are_no_weights(tmp_path, content, name):
    """The usual mistake first: the module itself instead of its state dict."""
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=rf"names {name}, .* save model\.state_dict"):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning", "ignore:.*jit:FutureWarning")
def test_torchscript_is_refused_with_the_way_out(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"a TorchScript archive, .*state_dict\(\)"):
        read_state_dict(tmp_path / "w.pt")


def rewritten(change) -> bytes:
    """A torch file written anew by zipfile, as `change(new, name, data)` wishes."""
    good, new = io.BytesIO(), io.BytesIO()
    torch.save(STATE, good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            change(archive, name, old.read(name))
    return new.getvalue()


def deflated(archive, name, data):
    archive.writestr(name, data, compress_type=zipfile.ZIP_DEFLATED)


def doubled(archive, name, data):
    archive.writestr(name, data)
    if name.endswith("data.pkl"):
        archive.writestr(name, data)


def elsewhere(archive, name, data):
    archive.writestr(f"{'../x' if 'data' in name else name}", data)


def in_two_folders(archive, name, data):
    archive.writestr(name if "data" in name else f"other/{name.partition('/')[2]}", data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (deflated, "is compressed"),
        (doubled, "not those that torch.save writes"),
        (elsewhere, "not those that torch.save writes"),
        (in_two_folders, "not those that torch.save writes"),
        (lambda archive, name, data: archive.writestr("w/x.py", b"1"), "not those that"),
    ],
)
def test_archives_that_torch_did_not_write(tmp_path, change, reason):
    (tmp_path / "w.pth").write_bytes(rewritten(change))
    with pytest.raises(WeightsError, match=rf"w\.pth: .*{reason}"):
        read_state_dict(tmp_path / "w.pth")


def test_checksums_are_compared(tmp_path):
    """torch does not: one changed byte of a weight would pass."""
    path = tmp_path / "w.pth"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    content[content.index(STATE["a.weight"].numpy().tobytes()) + 6] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["a.weight"], STATE["a.weight"])
    with pytest.raises(WeightsError, match=r"damaged: w/data/0 does not have the checksum|CRC"):
        read_state_dict(path)


def test_a_file_that_is_both_formats_is_read_as_torch_reads_it(tmp_path):
    """A harmless archive behind an evil pickle: whoever looks from the end sees the former."""
    harmless = io.BytesIO()
    torch.save(STATE, harmless)
    (tmp_path / "w.pth").write_bytes(in_legacy(NAMED["os.system"]) + harmless.getvalue())
    assert zipfile.is_zipfile(tmp_path / "w.pth")
    with nothing_runs(), pytest.raises(WeightsError, match=r"names os\.system"):
        read_state_dict(tmp_path / "w.pth")
