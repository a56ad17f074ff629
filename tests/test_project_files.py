"""What stands beside the code: workflows, hooks, the site's table of contents, versions."""

import re
from pathlib import Path

import pytest
import yaml

import resnet_backbone

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
YAML = [*WORKFLOWS, ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
# What the commands in workflows begin with, and where it comes from.
PROGRAMS = {"pip", "pytest", "ruff", "mypy", "codespell", "mkdocs", "twine", "python"}


def load(path: Path):
    # "on" would be True by YAML 1.1; the base loader leaves all scalars as text.
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_valid_and_has_no_tabs(path):
    assert load(path)
    assert "\t" not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_do_what_github_understands(path):
    workflow = load(path)
    assert {"name", "on", "jobs", "permissions"} <= workflow.keys()
    for job in workflow["jobs"].values():
        assert "runs-on" in job
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_of_a_workflow_is_one_that_it_installs(path):
    extras = (ROOT / "pyproject.toml").read_text()
    for step in steps(load(path)):
        for line in step.get("run", "").splitlines():
            program, *arguments = line.split()
            assert program in PROGRAMS, line
            for extra in re.findall(r"\.\[([\w,]+)\]", line):
                assert all(f"\n{name} = [" in extras for name in extra.split(",")), line
            for word in arguments:
                if word.startswith("tests/"):
                    assert (ROOT / word).exists(), line


def test_all_systems_and_pythons_are_tested():
    matrix = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"][
        "matrix"
    ]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert matrix["python"] == classifiers == ["3.10", "3.11", "3.12", "3.13", "3.14"]


def test_the_oldest_versions_are_those_of_pyproject():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    bounds = (ROOT / "pyproject.toml").read_text()
    for package in ("torch", "torchvision"):
        (bound,) = re.findall(rf'"{package}>=([\d.]+)"', bounds)
        assert f"{package}=={bound}.*" in text


def test_ci_does_what_the_workflow_does():
    ours, theirs = (ROOT / ".ci" / "run").read_text(), WORKFLOWS[-1].read_text()
    for check in ("ruff check .", "ruff format --check .", "mypy", "codespell", "pytest"):
        assert re.search(rf"^{re.escape(check)} \|\| status=1$", ours, re.MULTILINE), check
        assert f"run: {check}\n" in theirs
    assert "mkdocs build --strict" in ours and "run: mkdocs build --strict\n" in theirs


def test_the_site_lists_every_page():
    class Loader(yaml.SafeLoader):
        """Knows the names of Python functions that mkdocs.yml holds, as text."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Loader)  # noqa: S506

    def pages(entries):
        for entry in entries:
            for value in entry.values():
                yield from pages(value) if isinstance(value, list) else [value]

    listed = sorted(pages(site["nav"]))
    docs = ROOT / "docs"
    found = [*docs.glob("*.md"), *(docs / "examples").glob("*.ipynb")]
    assert listed == sorted(path.relative_to(docs).as_posix() for path in found)


def test_the_version_is_the_same_everywhere():
    version = resnet_backbone.__version__
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
