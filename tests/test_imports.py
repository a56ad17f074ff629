"""Who may import whom, and which constructs the library does without; read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "resnet_backbone"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each room may import besides itself. The first name that fits a module holds.
ALLOWED = {
    "errors": (),
    "registry": (),
    "structures": (),
    "utils": (),
    "config": ("utils",),
    "backbone": ("utils",),
    "weights": ("backbone", "utils"),
    "create": ("backbone", "utils", "weights"),
    "classification.create": ("backbone", "classification", "weights"),
    "classification.settle": ("backbone", "config", "weights"),
    "classification.build": ("backbone", "classification", "config", "weights"),
    "classification": ("backbone", "utils"),
    "detection.build": ("backbone", "config", "create", "utils", "weights"),
    "detection.trunk": ("backbone", "config", "create", "weights"),
    "detection.settle": ("backbone", "config", "weights"),
    "detection.from_weights": ("config", "utils", "weights"),
    "detection": ("backbone", "utils"),
    # Beside the models: neither knows them, nor the other.
    "data.coco.build": ("config", "data.loading", "data.shapes", "utils"),
    "data.labelled.build": ("config", "data.loading", "utils"),
    "data.coco": ("data.loading", "utils"),
    "data.labelled": ("data.loading", "data.shapes", "utils"),
    "data.loading": ("utils",),
    "data": ("utils",),
    "evaluation": ("utils",),
    "report": ("utils",),
    # A run of any task: no model, no data.
    "engine": ("config", "report", "utils", "weights.files"),
    # It reads what runs have left, and measures networks.
    "paper": ("backbone", "classification", "config.strict_yaml", "report", "utils"),
    # Where all of these meet; the two tasks share no arrow.
    "tasks.detection": (
        *("backbone", "config", "data", "detection", "engine", "evaluation", "report"),
        *("utils", "weights"),
    ),
    "tasks.classification": (
        *("backbone", "classification", "config", "data", "engine", "evaluation"),
        *("paper.measure", "report", "utils", "weights"),
    ),
    "tasks": ("config", "data.loading", "engine", "report", "utils", "weights"),
    # Outermost.
    "plugins": ("",),
    "cli": ("",),
    "__main__": ("cli",),
}
BY_ALL = ("errors", "registry", "structures")
# Settings stop here; everything else takes plain arguments.
SCHEMAS = ("config.run_schema", "config.schema", "config.classification_schema")
READS_SCHEMAS = (
    *("config", "engine", "plugins", "tasks"),
    *("data.coco.build", "data.labelled.build"),
    *(
        "detection.build",
        "detection.trunk",
        "detection.settle",
        "detection.from_weights",
        "classification.build",
        "classification.settle",
    ),
)
# Room -> who may import it.
OUTERMOST = {"plugins": ("plugins", "cli"), "cli": ("cli", "__main__")}
BENCHMARKS = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


def module_name(path: Path) -> str:
    """Returns "detection.rcnn" for resnet_backbone/detection/rcnn.py, "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.") or package == ""


def all_imports(tree: ast.AST) -> Iterator[str]:
    """Yields the dotted names of what is imported, functions' own imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yields the modules of this package that are imported."""
    for name in all_imports(tree):
        if name.split(".")[0] == "resnet_backbone":
            inner = name.removeprefix("resnet_backbone").removeprefix(".")
            yield inner if inner in MODULES else inner.rpartition(".")[0]


TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}
GRAPH = {name: set(imports(tree)) - {name} for name, tree in TREES.items()}


def test_the_source_was_found():
    assert len(FILES) > 30
    assert "config.schema" in GRAPH["detection.build"]


def rule_for(module: str) -> tuple[str, ...]:
    found = next((name for name in ALLOWED if within(module, name)), None)
    assert found is not None, f"no rule says what {module} may import"
    is_room = any(module.startswith(f"{found}.") for module in MODULES)
    own = found if is_room or "." not in found else found.rpartition(".")[0]
    return (*ALLOWED[found], *BY_ALL, own)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_imports_point_inwards(module):
    allowed = rule_for(module)
    for imported in GRAPH[module]:
        assert any(within(imported, name) for name in allowed), f"{module} imports {imported}"


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_settings_stop_at_the_builders(module):
    reads = [imported for imported in GRAPH[module] if imported in SCHEMAS]
    assert not reads or any(within(module, reader) for reader in READS_SCHEMAS)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_every_rule_is_of_a_room_that_is_there(name):
    assert any(within(module, name) for module in MODULES)
    for allowed in ALLOWED[name]:
        assert allowed == "" or any(within(module, allowed) for module in MODULES), allowed


def test_there_are_no_cycles():
    """Imports inside functions do not count: they run after all modules are there."""
    top = {name: set() for name in TREES}
    for name, tree in TREES.items():
        outer = ast.Module([node for node in tree.body if not _is_definition(node)], [])
        top[name] = set(imports(outer)) & set(MODULES) - {name}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for imported in sorted(top[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in top:
        visit(name, ())


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.ClassDef))


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_nobody_imports_what_is_outermost(module):
    for imported in GRAPH[module]:
        room = next((room for room in OUTERMOST if within(imported, room)), None)
        assert room is None or any(within(module, outer) for outer in OUTERMOST[room]), imported
    names = {name.partition(".")[0] for name in all_imports(TREES[module])}
    assert not names & {"tools", "benchmarks", "tests"}


# What every module of a kind has.
EVERYWHERE = {"main"}


def test_a_name_means_one_thing_in_the_whole_package():
    homes: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for node in tree.body:
            if _is_definition(node) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    twice = {name: found for name, found in homes.items() if len(found) > 1}
    assert twice.keys() <= EVERYWHERE, twice


def test_importing_the_package_is_cheap():
    """`import resnet_backbone` loads nothing; a backbone then needs torch alone."""
    heavy = "torch torchvision pydantic pycocotools matplotlib timm detectron2 yaml PIL".split()
    code = f"import sys, resnet_backbone; print([m for m in {heavy} if m in sys.modules])"
    assert _run(code) == "[]"
    heavy.remove("torch")
    code = "import sys, resnet_backbone; resnet_backbone.create_backbone('resnet18'); "
    assert _run(code + f"print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_every_public_name_can_be_had():
    code = "import resnet_backbone as r; print([n for n in r.__all__ if not hasattr(r, n)])"
    assert _run(code) == "[]"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- constructs that the library does without ---

BANNED_CALLS = {
    "eval": "runs what it reads",
    "exec": "runs what it reads",
    "print": "the library logs; only commands print",
    "yaml.load": "builds any object",
    "yaml.unsafe_load": "builds any object",
    "yaml.full_load": "builds any object",
    "extractall": "writes where the archive says",
    "exit": "ends the caller's process",
    "sys.exit": "ends the caller's process",
}
BANNED_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
EXCEPTIONS = {("cli.runner", "sys.exit")}  # which turns errors into exit codes


def findings(tree: ast.AST, module: str = "") -> Iterator[str]:
    for node in ast.walk(tree):
        where = f"line {getattr(node, 'lineno', '?')}"
        if isinstance(node, ast.Call):
            yield from (f"{where}: {text}" for text in _banned_call(node, module))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in BANNED_MODULES:
                    yield f"{where}: {alias.name} runs what it reads"
        elif isinstance(node, ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                yield f"{where}: star import"
            if (node.module or "").split(".")[0] in BANNED_MODULES:
                yield f"{where}: {node.module} runs what it reads"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{where}: bare except"
        elif isinstance(node, ast.Assert):
            yield f"{where}: assert, which python -O drops"


def _banned_call(call: ast.Call, module: str) -> Iterator[str]:
    name = ast.unparse(call.func)
    for banned, reason in BANNED_CALLS.items():
        hit = name == banned or (banned == "extractall" and name.endswith(".extractall"))
        allowed = (module, banned) in EXCEPTIONS or (banned == "print" and within(module, "cli"))
        if hit and not allowed:
            yield f"{banned} {reason}"
    if name == "torch.load":
        safe = [k for k in call.keywords if k.arg == "weights_only"]
        if not safe or ast.unparse(safe[0].value) != "True":
            yield "torch.load without weights_only=True"
    if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in call.keywords):
        yield "allow_pickle"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_banned_constructs_do_not_occur(module):
    assert list(findings(TREES[module], module)) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec('1')",
        "print(1)",
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import os, marshal",
        "yaml.load(x, Loader=yaml.SafeLoader)",
        "tar.extractall(p)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "from a import *",
        "try:\n  f()\nexcept:\n  pass",
        "assert x",
        "sys.exit(1)",
    ],
)
def test_each_banned_construct_would_be_noticed(code):
    assert len(list(findings(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code", ["torch.load(p, weights_only=True)", "model.eval()", "log.info('print')"]
)
def test_their_harmless_relatives_are_not(code):
    assert list(findings(ast.parse(code))) == []


@pytest.mark.parametrize("folder", ["resnet_backbone", "tools", "tests"])
def test_benchmarks_are_imported_by_nobody(folder):
    for path in (ROOT / folder).rglob("*.py"):
        names = {name.partition(".")[0] for name in all_imports(ast.parse(path.read_text()))}
        assert not names & BENCHMARKS, path
