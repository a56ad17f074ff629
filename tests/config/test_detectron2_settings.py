"""detectron2's YAML as yacs reads it: values, origins, bases, and what is wrong with a key."""

import pytest
from detectron2_files import BASE, errors_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_backbone.config.detectron2_keys import KEYS
from resnet_backbone.config.detectron2_settings import (
    Settings,
    is_detectron2,
    names_detectron2,
    read_settings,
)
from resnet_backbone.config.load import load_config
from resnet_backbone.errors import ConfigError


def taken(*overrides):
    found = Settings()
    for override in overrides:
        found.override(override)
    return found


# --- values ---


def test_what_was_written_holds_and_its_place_is_known(tmp_path):
    path = write(tmp_path / "a.yaml", "SEED: 3\nMODEL:\n  MASK_ON: True\n")
    found = read_settings(path, ["SOLVER.MAX_ITER=7"])
    assert found.problems == []
    assert (found["SEED"], found.origin("SEED")) == (3, f"{path}, line 1")
    assert (found["MODEL.MASK_ON"], found.origin("MODEL.MASK_ON")) == (True, f"{path}, line 3")
    assert (found["SOLVER.MAX_ITER"], found.origin("SOLVER.MAX_ITER")) == (7, "command line")
    assert (found["SOLVER.GAMMA"], found.origin("SOLVER.GAMMA")) == (0.1, "detectron2's default")


def test_a_refusal_shows_value_and_place(tmp_path):
    found = read_settings(write(tmp_path / "a.yaml", "SEED: 3"), [])
    found.refuse("SEED", "another one")
    found.refuse("VERSION", "1")
    assert found.problems == [
        f"SEED ({tmp_path / 'a.yaml'}, line 1): found 3, expected another one",
        "VERSION (detectron2's default): found 2, expected 1",
    ]


LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e15, 1e15)
    | st.text("abc /._-'\\"),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)
TEXTS = st.text(max_size=12) | LITERALS.map(repr) | LITERALS.map(str)


def plain(value):
    """In what ours differ from yacs's values: lists are tuples, and 2.0 is 2."""
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")
@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_text_becomes_what_yacs_makes_of_it(text):
    """Of a key whose default says no type: any value is kept."""
    yacs = pytest.importorskip("yacs.config")
    key = "MODEL.RETINANET.NORM"
    assert KEYS[key].default is None
    found = Settings()
    found.take({"MODEL": {"RETINANET": {"NORM": text}}}, lambda _: "here")
    try:
        expected = yacs.CfgNode._decode_cfg_value(text)
    except (TypeError, MemoryError, RecursionError):  # which yacs lets through
        expected = text
    assert found[key] == plain(expected)
    assert type(found[key]) is type(plain(expected))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("INPUT.MIN_SIZE_TRAIN=(640, 800)", (640, 800)),
        ("INPUT.MIN_SIZE_TRAIN='(640,)'", (640,)),
        ("INPUT.MIN_SIZE_TRAIN=[640.0]", (640,)),
        ("SOLVER.BASE_LR=1e-4", 1e-4),
        ("SOLVER.BASE_LR='1e-4'", 1e-4),
        ("SOLVER.BASE_LR=1", 1),
        ("SOLVER.BASE_LR=1e20", 1e20),  # above 2**53, where floats no longer count integers
        ("SOLVER.MAX_ITER=2.7e5", 270_000),
        ("MODEL.MASK_ON='True'", True),
        ("MODEL.WEIGHTS=", ""),
        ("MODEL.WEIGHTS=null", ""),
        ("MODEL.WEIGHTS='None'", ""),
        ("OUTPUT_DIR=./a=b", "./a=b"),
        (" SEED = 5", 5),
        ("SOLVER.WEIGHT_DECAY_BIAS=0.1", 0.1),  # whose default, None, says no type
    ],
)
def test_values_of_overrides(override, expected):
    found = taken(override)
    assert found.problems == []
    value = found[override.partition("=")[0].strip()]
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("SEED=x", "SEED (command line): found 'x', expected an integer"),
        ("SEED=1.5", "SEED (command line): found 1.5, expected an integer"),
        ("SEED=True", "SEED (command line): found true, expected an integer"),
        ("SEED=", "SEED (command line): found nothing, expected an integer"),
        ("MODEL.MASK_ON=1", "MODEL.MASK_ON (command line): found 1, expected true or false"),
        ("SOLVER.GAMMA=x", "SOLVER.GAMMA (command line): found 'x', expected a number"),
        ("MODEL.WEIGHTS=5", "MODEL.WEIGHTS (command line): found 5, expected text (put quotes"),
        ("INPUT.MIN_SIZE_TRAIN=5", "INPUT.MIN_SIZE_TRAIN (command line): found 5, expected a list"),
        ("SOLVER=3", "SOLVER (command line): found 3, expected a section"),
        ("MODEL.FPN.NORM.X=1", "MODEL.FPN.NORM (command line): found a section with the keys X, "),
        ("SOLVER.LRR=3", "SOLVER.LRR (command line): unknown key; did you mean SOLVER."),
        (
            "MODEL.NMS_THRESH=1",
            "MODEL.NMS_THRESH (command line): unknown key; did you mean MODEL.R",
        ),
        ("INPUT.FORMAT=[", "INPUT.FORMAT (command line): expected the node content, but found"),
        ("solver.lr=1", "solver (command line): unknown key; detectron2 has no similar key"),
    ],
)
def test_a_wrong_value_is_noted_and_the_default_stays(override, message):
    found = taken(override)
    (problem,) = found.problems
    assert problem.startswith(message)
    assert found.written == {}


def test_a_section_may_be_given_whole_and_key_by_key():
    found = taken("SOLVER={GAMMA: 0.5, AMP: {ENABLED: True}}", "SOLVER.GAMMA=0.25")
    assert found.problems == []
    assert (found["SOLVER.GAMMA"], found["SOLVER.AMP.ENABLED"]) == (0.25, True)


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(KEYS)), TEXTS)
def test_of_every_value_there_is_a_note_or_it_is_kept(key, text):
    found = Settings()
    section = {(names := key.split("."))[-1]: text}
    for name in reversed(names[:-1]):
        section = {name: section}
    found.take(section, lambda _: "here")
    assert (key in found.written) != bool(found.problems)
    assert all(problem.startswith(f"{key} (here): found ") for problem in found.problems)


# --- which files and arguments are detectron2's ---


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("_BASE_: a.yaml", True),
        ("SOLVER: {}", True),
        ("VERSION: 2", True),
        ("_base_: a.yaml\nsolver: {}", False),
        ("", False),
        ("model: {MASK_ON: True}", False),
    ],
)
def test_files_are_told_by_their_keys_at_the_top(tmp_path, text, theirs):
    assert is_detectron2(write(tmp_path / "a.yaml", text)) == theirs


@pytest.mark.parametrize(
    ("override", "theirs"),
    [
        ("SOLVER.MAX_ITER=3", True),
        (" SEED = 3", True),
        ("MODEL={}", True),
        ("solver.max_iter=3", False),
        ("SOLVER.MAX_ITER", False),
        ("=SOLVER", False),
        ("", False),
    ],
)
def test_arguments_are_told_by_their_first_word(override, theirs):
    assert names_detectron2(override) == theirs


# --- bases ---


@pytest.fixture
def project(tmp_path):
    """A folder with a base that says of which data and model the files are."""
    write(tmp_path / "base.yaml", BASE)
    return lambda text: write(tmp_path / "run.yaml", f"_BASE_: base.yaml\n{text}")


def test_of_several_bases_the_later_holds(project, tmp_path):
    write(tmp_path / "a.yaml", "SEED: 1\nSOLVER: {GAMMA: 0.5}")
    write(tmp_path / "b.yml", "SEED: 2")
    text = '_BASE_: [base.yaml, a.yaml, "b.yml"]'
    cfg = load_config(write(tmp_path / "run.yaml", text))
    assert (cfg.seed, cfg.solver.gamma) == (2, 0.5)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("_BASE_: run.yaml", "circular _BASE_: "),
        ("_BASE_: none.yaml", "run.yaml: _BASE_ 'none.yaml': no such file in "),
        ("_BASE_: https://x.org/a.yaml", "run.yaml: _BASE_ 'https://x.org/a.yaml': expected the"),
        ("_BASE_: /etc/passwd", "run.yaml: _BASE_ '/etc/passwd': expected the path of a .yaml"),
        ("_BASE_: 3", "run.yaml: _BASE_ 3: expected the path of a .yaml file"),
        ("_BASE_: [[a.yaml]]", "run.yaml: _BASE_ ['a.yaml']: expected the path of a .yaml file"),
    ],
)
def test_bases_that_cannot_be_followed(tmp_path, text, error):
    (found,) = errors_of(write(tmp_path / "run.yaml", text))
    assert found.startswith(error)


def test_the_number_of_files_is_bounded(tmp_path):
    """Each names the next twice: two to the power of 30 files to read."""
    for n in range(30):
        write(tmp_path / f"{n}.yaml", f"_BASE_: [{n + 1}.yaml, {n + 1}.yaml]")
    write(tmp_path / "30.yaml", "SEED: 1")
    with pytest.raises(ConfigError, match="includes more than 20 files"):
        load_config(tmp_path / "0.yaml")


def test_code_in_a_file_is_refused_by_name_of_the_key(project):
    """As in detectron2's Base-RetinaNet.yaml, which it evaluates."""
    text = 'MODEL:\n  ANCHOR_GENERATOR:\n    SIZES: !!python/object/apply:eval ["[[1]]"]'
    (error,) = errors_of(project(text))
    assert error.startswith("run.yaml, line 4: tags (!) are not allowed")
    assert error.endswith("(in SIZES)")
