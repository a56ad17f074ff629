"""Every module has a test file in its place, and every test file in such a place its module."""

import ast
from pathlib import Path, PurePosixPath

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "resnet_backbone"

# Why a module has none. A module that gets one has to leave the list.
REASONS = {
    "__main__.py": "calls cli/main.py; tests/cli/test_main.py runs it as a module",
    "backbone/base.py": "an interface; test_resnet.py and test_from_timm.py hold both kinds to it",
    "backbone/spec.py": "two numbers; what networks declare by them is measured in test_resnet.py",
    "cli/conversion.py": "called by a command alone: tests/cli/test_convert.py",
    "detection/nms_kernel.py": "test_nms.py interprets it, and compiles it for GPUs",
    "engine/task.py": "an interface; both tasks, and the toy in tests/helpers, are of it",
    "evaluation/details.py": "only data; tests/tasks/detection/test_figures.py draws it",
    "evaluation/evaluator.py": "an interface; CocoEvaluator and the toy in tests/helpers are of it",
    "tasks/detection/evaluate_file.py": "called by a command alone: tests/cli/test_evaluate.py",
}
# What a test file is of where it mirrors no module.
OTHERS = {
    "config/test_classification_configs.py": "the shipped files of classifiers",
    "config/test_configs.py": "the shipped files of detectors",
    "detection/test_foreign_backbones.py": "a user's backbone, from the YAML to the pyramid",
    "engine/test_ranks.py": "two processes that train together",
    "tasks/test_reading_weights.py": "how often both tasks read a file",
}
# Folders beside the package that tests are of, or that compare it with other packages.
OTHER_FOLDERS = ("examples", "fake_gpu", "faults", "parity")

MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
FILES = sorted(
    path.relative_to(TESTS).as_posix()
    for path in TESTS.rglob("test_*.py")
    if path.parent != TESTS and path.relative_to(TESTS).parts[0] not in OTHER_FOLDERS
)


def mirror_of(module: str) -> str:
    """Returns "backbone/test_stage.py" for "backbone/stage.py"."""
    path = PurePosixPath(module)
    return str(path.with_name(f"test_{path.name}"))


def module_of(file: str) -> str:
    path = PurePosixPath(file)
    return str(path.with_name(path.name.removeprefix("test_")))


def test_modules_and_files_were_found():
    assert len(MODULES) > 150 and "weights/load.py" in MODULES and "create.py" in MODULES
    assert len(FILES) > 150 and "weights/test_load.py" in FILES
    assert module_of(mirror_of("data/coco/test_time.py")) == "data/coco/test_time.py"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_test_file_or_a_reason(module):
    mirror = TESTS / mirror_of(module)
    if module in REASONS:
        assert not mirror.exists(), f"{module} is tested: take it out of REASONS"
    else:
        assert mirror.is_file(), f"no tests/{mirror_of(module)}, and no reason in REASONS"


@pytest.mark.parametrize("file", FILES)
def test_every_test_file_has_its_module_or_a_reason(file):
    module = module_of(file)
    if file in OTHERS:
        assert module not in MODULES, f"{file} mirrors {module}: take it out of OTHERS"
    else:
        assert module in MODULES, f"there is no {module}, and no reason in OTHERS"


@pytest.mark.parametrize("file", FILES)
def test_no_test_file_is_empty(file):
    names = [
        node.name
        for node in ast.parse((TESTS / file).read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert any(name.startswith("test_") for name in names)


def test_reasons_are_of_what_is_there():
    assert REASONS.keys() <= set(MODULES)
    assert OTHERS.keys() <= set(FILES)
    assert all((*REASONS.values(), *OTHERS.values()))
