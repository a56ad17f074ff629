"""What a GPU would do in a step, on a machine without one; see tests/helpers/fake_gpu.

`recorded.json` holds what was found last: the host must not wait anywhere else or more often, and a
step must not launch more kernels or move more bytes. Where it got better, record it:

    PYTHONPATH=tests/helpers python -m fake_gpu tests/fake_gpu/recorded.json
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
CASES = [name for name in RECORDED["cases"] if not name.startswith("known")]
FULL = {"float32", "float64"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The report, from a process of its own, since a device once added to torch stays."""
    report = tmp_path_factory.mktemp("fake_gpu") / "report.json"
    paths = [str(ROOT), str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "fake_gpu", str(report)]
    subprocess.run(command, env=env, check=True, cwd=ROOT, timeout=600)
    return json.loads(report.read_text())["cases"]


def test_every_case_is_recorded(found):
    assert list(found) == list(RECORDED["cases"])


@pytest.mark.parametrize("name", CASES)
def test_all_tensors_are_where_they_are_needed(found, name):
    assert "error" not in found[name], found[name]["error"]


@pytest.mark.parametrize("name", CASES)
def test_losses_boxes_and_what_they_are_made_of_keep_full_precision(found, name):
    """Half precision has 8 or 11 bits: at 1000 pixels, steps of 4 or half a pixel."""
    results = found[name]["results"]
    kinds = {"masks": {"bool gpu:0", "none"}, "classes": {"int64 gpu:0"}}
    assert results
    for key, kind in results.items():
        assert kind in kinds.get(key, {"float32 gpu:0"}), key
    dtypes = dict(found[name]["dtypes"])
    asked = next(key for key in ("bf16", "fp16", "off") if key in name)
    half = {"bf16": "bfloat16", "fp16": "float16", "off": "float32"}[asked]
    assert dtypes.pop("convolution") == [half]
    assert all(set(kinds) <= FULL for kinds in dtypes.values()), dtypes


@pytest.mark.parametrize("name", CASES)
def test_the_host_waits_nowhere_new(found, name):
    before = RECORDED["cases"][name]["waits"]
    more = {wait: n for wait, n in found[name]["waits"].items() if n > before.get(wait, 0)}
    assert not more
    # Other versions of torch may do with less.
    if torch.__version__.startswith(RECORDED["torch"]):
        assert found[name]["waits"] == before, "fewer than recorded: record it"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("what", ["kernels", "bytes"])
def test_a_step_stays_within_its_budget(found, name, what):
    # 5 per cent for versions of torch that compose operators otherwise.
    assert found[name][what] <= 1.05 * RECORDED["cases"][name][what]


def test_known_waits_are_found(found):
    waits = found["known: waits"]["waits"]
    assert waits == {
        f"{kind} in outside the package": count
        for kind, count in {
            "boolean mask": 1,
            "copy to the device": 2,
            "copy to the host": 1,
            "item": 2,
            "nms": 1,
            "nonzero": 1,
            "tolist": 1,
        }.items()
    }


def test_autocast_follows_cudas_rules(found):
    """https://docs.pytorch.org/docs/stable/amp.html, "CUDA Op-Specific Behavior"."""
    dtypes = {op: kind.split()[0] for op, kind in found["known: autocast"]["results"].items()}
    assert dtypes == {
        **dict.fromkeys(["conv2d", "matmul", "linear"], "bfloat16"),
        **dict.fromkeys(["softmax", "sum", "log", "exp", "cross_entropy"], "float32"),
        **dict.fromkeys(["of float64", "sum with a dtype"], "float64"),
        "relu": "float16",
        **dict.fromkeys(["addition", "addcmul"], "float32"),
        "roi_align": "float32",
    }


def test_tensors_on_two_devices_are_refused(found):
    assert "FakeTensorDeviceMismatchError" in found["known: two devices"]["error"]
