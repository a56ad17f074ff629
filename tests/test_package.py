"""The sdist and the wheel: what is in them, and that the wheel works where there is no checkout."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("resnet_backbone", "configs", "results", "pyproject.toml", "LICENSE", "README.md")

# Of the quickstart, as little as makes a run: 2 steps, 12 images.
TINY = [
    "solver.max_iter=2",
    "solver.warmup_iters=1",
    "solver.batch_size=2",
    "checkpoint.period=2",
    "data.shapes={train_images: 8, val_images: 4, image_size: 64, max_shapes: 3, seed: 0}",
    "data.min_sizes=[64]",
    "data.max_size=64",
    "data.test_min_size=64",
    "data.test_max_size=64",
    "model.rpn.anchors.sizes=[[8], [16], [32], [64], [128]]",
]


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Builds as pip does, without the network: the backend is setuptools, called directly."""
    target.mkdir(exist_ok=True)
    code = f"import sys; from setuptools.build_meta import build_{kind} as b; b(sys.argv[1])"
    run(sys.executable, "-c", code, target, cwd=source)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What the files are built from; building writes beside them."""
    pytest.importorskip("setuptools", minversion="77", reason="builds need setuptools 77")
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build("wheel", source, tmp_path_factory.mktemp("wheel") / "built")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment that has the wheel, and of this one only the packages that it depends on."""
    folder = tmp_path_factory.mktemp("environment") / "env"
    venv.create(folder, symlinks=os.name != "nt")
    (python,) = [*folder.glob("bin/python"), *folder.glob("Scripts/python.exe")]
    install = ["install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    (site,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    # A plain path: editable installations of this environment are not followed.
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(paths))
    return python


def test_the_wheel_holds_package_configs_and_records(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "configs/base", "configs/detectron2"):
        for file in (ROOT / folder).glob("*.yaml"):
            assert f"resnet_backbone/{folder}/{file.name}" in names
    for file in (ROOT / "results").glob("*.json"):
        assert f"resnet_backbone/results/{file.name}" in names
    for file in (ROOT / "resnet_backbone").rglob("*.py"):
        assert file.relative_to(ROOT).as_posix() in names
    assert "resnet_backbone/py.typed" in names
    others = {name.partition("/")[0] for name in names} - {"resnet_backbone"}
    assert len(others) == 1 and others.pop().endswith(".dist-info")


def test_the_sdist_builds_the_same_wheel(source, wheel, tmp_path):
    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    assert {n for n in zipfile.ZipFile(again).namelist() if "dist-info" not in n} == names


def test_an_installed_wheel_trains_and_reproduces(installed, tmp_path):
    command = installed.with_name("resnet-backbone")
    where = "import resnet_backbone; print(resnet_backbone.__file__)"
    assert str(installed.parents[1]) in run(installed, "-c", where, cwd=tmp_path)
    run(command, "train", "--config", "quickstart.yaml", *TINY, cwd=tmp_path)
    output = tmp_path / "output" / "quickstart"
    assert (output / "model.safetensors").is_file() and (output / "results.json").is_file()
    shown = run(command, "reproduce", "--only", "figure6", cwd=tmp_path)
    assert "recorded runs: 4, in" in shown and str(installed.parents[1]) in shown


def test_metadata_say_where_the_project_is(wheel):
    (name,) = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("METADATA")]
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    for field in ("Author: ", "Project-URL: Documentation, ", "License-Expression: Apache-2.0"):
        assert f"\n{field}" in metadata


def test_every_package_is_listed_for_the_wheel():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    package = ROOT / "resnet_backbone"
    folders = {path.parent for path in package.rglob("*.py")} | {
        ROOT / "results",
        *(path.parent for path in (ROOT / "configs").rglob("*.yaml")),
    }
    names = {
        ".".join(
            folder.relative_to(ROOT).parts
            if folder.is_relative_to(package)
            else ("resnet_backbone", *folder.relative_to(ROOT).parts)
        )
        for folder in folders
    }
    assert listed == names
