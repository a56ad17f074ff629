"""Finding, merging and checking configurations; the words of every error are part of it."""

import copy
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refused_configs import errors_of, paths_of

from resnet_backbone.config.load import (
    dump_config,
    find_config,
    list_configs,
    load_any_config,
    load_config,
    override_config,
)
from resnet_backbone.config.schema import Config
from resnet_backbone.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Hypothesis would want a new folder for every example; each example writes all that it reads.
SHARED_FOLDER = (HealthCheck.function_scoped_fixture,)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- finding ---


def test_shipped_names_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("coco_frcnn_r101.yaml") == CONFIGS / "coco_frcnn_r101.yaml"
    assert find_config("coco_frcnn_r101") == CONFIGS / "coco_frcnn_r101.yaml"


def test_an_existing_file_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "quickstart.yaml", "seed: 5")
    assert load_config("quickstart.yaml").seed == 5
    assert load_config(tmp_path / "quickstart.yaml").name == "quickstart"


def test_a_folder_of_that_name_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find_config("quickstart") == CONFIGS / "quickstart.yaml"


def test_an_unknown_name_lists_the_close_ones():
    (message,) = errors_of("coco_fasterrcnn_r50.yaml")
    assert message.startswith("no file 'coco_fasterrcnn_r50.yaml', and no shipped configuration")
    assert "did you mean coco_frcnn_r50 or " in message


@pytest.mark.parametrize("name", ["zzzzzzzzzzz", "", ".", "\0", "x" * 5000, "../configs/base"])
def test_a_name_like_nothing_lists_all(name):
    (message,) = errors_of(name)
    assert "shipped: " in message
    assert all(shipped in message for shipped in list_configs())


# --- values ---


def test_an_empty_file_is_the_default_under_its_own_name(tmp_path):
    config = load_config(write(tmp_path / "mine.yaml", ""))
    assert config == Config(name="mine", output="output/mine")


def test_name_and_output(tmp_path):
    path = write(tmp_path / "mine.yaml", "name: other\noutput: runs/{name}/a")
    assert load_config(path).output == "runs/other/a"
    assert load_config(path, ["name=third"]).output == "runs/third/a"
    assert load_config(path, ["output=here"]).output == "here"


def test_numbers_are_accepted_as_people_write_them(tmp_path):
    text = "solver: {lr: 1, max_iter: 2.7e5, weight_decay: 1e-4, milestones: [1e3, 2000.0]}"
    solver = load_config(write(tmp_path / "a.yaml", text)).solver
    assert (solver.lr, type(solver.lr)) == (1.0, float)
    assert (solver.max_iter, type(solver.max_iter)) == (270_000, int)
    assert solver.weight_decay == 1e-4
    assert solver.milestones == (1000, 2000)


def test_overrides_win_in_their_order_and_are_recorded():
    given_ = ["solver.lr=0.1", "data.root=/data/a=b", "solver={amp: off}", "solver.lr=1e-3"]
    config = load_config("coco_frcnn_r50", given_)
    assert config.solver.lr == 1e-3
    assert config.solver.amp == "off"
    assert config.solver.max_iter == 90_000
    assert config.data.root == "/data/a=b"
    assert config.overrides == tuple(given_)


def test_an_override_of_one_key_keeps_its_neighbours():
    config = load_config("coco_frcnn_r50", ["data.train.limit=8", "data.shapes.seed=3"])
    assert config.data.train.images == "train2017"
    assert config.data.train.limit == 8
    assert config.data.shapes.seed == 3


def test_nothing_after_the_equals_sign_is_null():
    assert load_config("coco_frcnn_r50", ["model.backbone.weights="]).model.backbone.weights is None
    (message,) = errors_of("coco_frcnn_r50", ["data.root="])
    assert message.startswith("data.root (command line): found nothing, expected text")


def test_the_result_is_frozen():
    config = load_config("quickstart")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValueError, match="frozen"):
        config.solver.lr = 1.0


# --- the length of a run ---


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("", ["solver.max_iter=500"], (500, None, 90_000)),
        ("", ["solver.max_iter=500", "solver.max_iter=600"], (600, None, 90_000)),
        ("solver: {max_iter: 500}", [], (500, None, None)),
        ("solver: {max_iter: 500}", ["solver.max_iter=9"], (9, None, 500)),
        ("solver: {epochs: 12}", [], (90_000, 12.0, 90_000)),
        ("_base_: cifar10_r20.yaml\nsolver: {epochs: 12}", [], (64_000, 12.0, 64_000)),
        ("solver: {epochs: 12}", ["solver.max_iter=500"], (500, None, 90_000)),
        ("solver: {max_iter: 500}", ["solver={epochs: 3}"], (500, 3.0, 500)),
        ("solver: {epochs: 12}", ["solver.epochs="], (90_000, None, 90_000)),
    ],
)
def test_steps_replace_epochs_and_epochs_replace_steps(tmp_path, text, overrides, expected):
    solver = load_any_config(write(tmp_path / "a.yaml", text), overrides).solver
    assert (solver.max_iter, solver.epochs, solver.reference_max_iter) == expected


def test_steps_and_epochs_together_are_refused(tmp_path):
    both = "solver: {epochs: 12, max_iter: 500}"
    expected = ["solver.max_iter and solver.epochs: both are set; set one of the two"]
    assert errors_of(write(tmp_path / "a.yaml", both)) == expected
    assert errors_of("quickstart", ["solver.epochs=12", "solver.max_iter=9"]) == expected
    assert errors_of("quickstart", ["solver.max_iter=9", "solver.epochs=12"]) == expected


def test_epochs_do_not_go_with_steps_at_which_images_grow():
    with pytest.raises(ConfigError, match="solver.epochs is set, but data.progressive is in steps"):
        load_any_config("imagenet_r50_fast", ["solver.epochs=3"])


# --- bases ---


def test_mappings_merge_deeply_and_lists_replace(tmp_path):
    write(tmp_path / "sub/a.yaml", "seed: 1\ndata: {min_sizes: [1, 2, 3], flip: 0.1}")
    write(tmp_path / "b.yaml", "_base_: sub/a.yaml\ndata: {min_sizes: [7]}")
    config = load_config(write(tmp_path / "c.yaml", "_base_: b.yaml\nsolver: {lr: 3}"))
    assert (config.name, config.seed, config.solver.lr) == ("c", 1, 3.0)
    assert (config.data.min_sizes, config.data.flip) == ((7,), 0.1)


def test_a_base_may_be_beside_a_nested_file(tmp_path):
    write(tmp_path / "sub/a.yaml", "_base_: ../top.yaml")
    write(tmp_path / "top.yaml", "seed: 4")
    assert load_config(write(tmp_path / "c.yaml", "_base_: sub/a.yaml")).seed == 4


def test_a_base_may_be_a_shipped_file(tmp_path):
    path = write(tmp_path / "mine.yaml", "_base_: coco_mrcnn_r50_c4_3x.yaml\nseed: 9")
    config = load_config(path)
    assert (config.seed, config.name, config.model.architecture) == (9, "mine", "c4")
    assert config.solver.max_iter == 270_000


def test_a_cycle_is_refused_with_its_chain(tmp_path):
    a = write(tmp_path / "a.yaml", "_base_: b.yaml")
    b = write(tmp_path / "b.yaml", "_base_: c.yaml")
    c = write(tmp_path / "c.yaml", "_base_: a.yaml")
    (message,) = errors_of(a)
    assert message == f"circular _base_: {a} -> {b} -> {c} -> {a}"
    (message,) = errors_of(write(tmp_path / "self.yaml", "_base_: self.yaml"))
    assert "circular _base_: " in message


def test_ten_bases_are_allowed_and_eleven_not(tmp_path):
    write(tmp_path / "0.yaml", "seed: 3")
    for i in range(1, 12):
        write(tmp_path / f"{i}.yaml", f"_base_: {i - 1}.yaml")
    assert load_config(tmp_path / "10.yaml").seed == 3
    (message,) = errors_of(tmp_path / "11.yaml")
    assert message.startswith("more than 10 _base_ files in a chain: ")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("/etc/passwd", "expected a path relative to this file"),
        ("http://host/a.yaml", "expected a path relative to this file"),
        ("'C:/a.yaml'", "expected a path relative to this file"),
        ("..\\a.yaml", "expected a path relative to this file"),
        ("../outside.yaml", "lies outside of "),
        ("sub/../../outside.yaml", "lies outside of "),
        ("link.yaml", "lies outside of "),
        ("absent.yaml", "no such file in "),
        ("sub", "no such file in "),
        ("[a.yaml]", "expected the name of a file"),
        ("", "expected the name of a file"),
        ("3", "expected the name of a file"),
    ],
)
def test_bases_that_are_refused(tmp_path, base, message):
    write(tmp_path / "outside.yaml", "seed: 1")
    (tmp_path / "root/sub").mkdir(parents=True)
    os.symlink(tmp_path / "outside.yaml", tmp_path / "root/link.yaml")
    path = write(tmp_path / "root/a.yaml", f"_base_: {base}")
    (found,) = errors_of(path)
    assert found.startswith(f"{path}: _base_ ")
    assert message in found


# --- errors ---


def test_very_many_errors_are_counted_and_some_are_shown():
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [f"k{number}=1" for number in range(1000)])
    first, *shown, last = str(caught.value).split("\n  ")
    assert first.startswith("1000 errors in the configuration ")
    assert len(shown) == 30 and last == "and 970 more"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a" * 5000 + "=1", "expected a key of at most 200 characters and 20 parts"),
        (".".join("a" * 50) + "=1", "expected a key of at most 200 characters and 20 parts"),
        ("a" * 5000, "expected key.path=value"),
        ("data.min_sizes=[" + "1," * 30_000 + "]", "more than 20000 keys and values"),
    ],
)
def test_an_endless_argument_is_not_repeated(override, message):
    (found,) = errors_of("quickstart", [override])
    assert message in found and len(found) < 200


@pytest.mark.parametrize("key", ["_base_", "_BASE_"])
@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 2500 + "x", "~nobody/x"])
def test_a_base_that_can_be_no_file_is_refused(tmp_path, key, name):
    (found,) = errors_of(write(tmp_path / "a.yaml", f"{key}: {name}.yaml"))
    assert f"{key} '" in found and len(found) < 300


def test_all_errors_come_at_once_with_place_and_advice(tmp_path):
    base = write(tmp_path / "base.yaml", "model:\n  architecture: fppn\n  freeze_at: 2\n")
    path = write(
        tmp_path / "a.yaml",
        "_base_: base.yaml\nsolver:\n  lrr: 0.1\n  lr: fast\n  milestones: [2, 1]\n",
    )
    overrides = ["data.flip=2", "data.max_sise=5", "no_equals_sign", "seed=[", "overrides=[]"]
    assert errors_of(path, overrides) == [
        "'no_equals_sign' (command line): expected key.path=value",
        "seed (command line): expected the node content, but found '<stream end>'",
        "'overrides=[]' (command line): this key cannot be set",
        "data.flip (command line): found 2, expected a value less than or equal to 1",
        "data.max_sise (command line): unknown key; did you mean data.max_size?",
        f"model.architecture ({base}, line 2): found 'fppn', expected one of 'fpn', 'c4' or 'dc5'",
        f"model.freeze_at ({base}, line 3): unknown key; did you mean model.backbone.freeze_at?",
        f"solver.lr ({path}, line 4): found 'fast', expected a number",
        f"solver.milestones ({path}, line 5): found [2, 1], expected ascending steps",
        f"solver.lrr ({path}, line 3): unknown key; did you mean solver.lr?",
    ]


@pytest.mark.parametrize("argument", ["", "=1", "a", "a..b=1", ".a=1", "a.=1", " =1", "--lr"])
def test_arguments_that_are_no_overrides(argument):
    (message,) = errors_of("quickstart", [argument])
    assert message == f"{argument!r} (command line): expected key.path=value"


DEFAULTS = Config().model_dump()
PATHS = [path for path in paths_of(DEFAULTS) if path != ("overrides",)]
# Sections whose keys are the user's own, or that may be absent, take or name more than themselves.
FREE = {("model", "backbone", "options"), ("data", "shapes")}
LEAVES = [
    path
    for path in PATHS
    if path not in FREE and not any(p[: len(path)] == path != p for p in PATHS)
]


@settings(max_examples=100, deadline=None)
@given(st.sets(st.sampled_from(LEAVES), min_size=1, max_size=5))
def test_every_wrong_value_is_reported(leaves):
    overrides = [".".join(leaf) + "={nonsense: true}" for leaf in leaves]
    messages = errors_of("quickstart", overrides)
    assert {message.split(" ")[0] for message in messages} == {".".join(leaf) for leaf in leaves}


@settings(max_examples=150, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(st.text(max_size=60))
def test_any_file_is_loaded_or_refused_with_a_config_error(tmp_path, text):
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        load_config(path)
    except ConfigError as error:
        assert str(path) in str(error)


KEYS = st.sampled_from([".".join(path) for path in PATHS]) | st.text(max_size=6)
VALUES = st.sampled_from(
    ["", "1", "-1", "1e-4", "true", "off", "[1]", "[[1]]", "{a: 1}", "~", ".nan", "9" * 18, "fpn"]
) | st.text(max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_overrides_are_loaded_or_refused_with_a_config_error(pairs):
    try:
        config = load_config("quickstart", [f"{key}={value}" for key, value in pairs])
    except ConfigError:
        return
    assert isinstance(config, Config)


# --- writing ---


CHANGES = {
    ("seed",): st.integers(0, 2**53),
    ("data", "root"): st.text(),
    ("output",): st.text().filter(lambda text: "{name}" not in text),
    ("data", "min_sizes"): st.lists(st.integers(1, 5000), min_size=1).map(tuple),
    ("solver", "lr"): st.floats(min_value=1e-300, max_value=1e300),
    ("model", "backbone", "weights"): st.none() | st.text(),
    ("model", "pixels", "mean"): st.tuples(*[st.floats(-300, 300)] * 3),
    ("data", "shapes"): st.none() | st.just({"seed": 5}),
    ("overrides",): st.lists(st.text(), max_size=2).map(tuple),
}


@settings(max_examples=100, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(st.fixed_dictionaries({}, optional=CHANGES))
def test_what_is_dumped_loads_back_equal(tmp_path, changes):
    tree = copy.deepcopy(DEFAULTS)
    for path, value in changes.items():
        section = tree
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    config = Config.model_validate({**tree, "output": tree["output"].replace("{name}", "run")})
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_a_dumped_run_keeps_its_name_and_its_overrides(tmp_path):
    first = load_config("coco_frcnn_r50", ["solver.lr=0.5"])
    path = write(tmp_path / "config.yaml", dump_config(first))
    again = load_config(path, ["seed=3"])
    assert (again.name, again.output) == ("coco_frcnn_r50", "output/coco_frcnn_r50")
    assert again.overrides == ("solver.lr=0.5", "seed=3")


def test_the_loader_needs_no_torch():
    """A configuration can be checked where only the small libraries are installed."""
    code = "import sys; from resnet_backbone.config import load; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("text", "overrides", "drawn"),
    [
        ("_base_: quickstart.yaml", [], True),
        ("_base_: quickstart.yaml\ndata: {root: mine, train: {limit: 5}}", [], True),
        ("_base_: quickstart.yaml\ndata: {train: {annotations: a.json}}", [], False),
        ("_base_: quickstart.yaml", ["data.val.images=mine"], False),
        ("_base_: quickstart.yaml", ["data.shapes={seed: 5}", "data.val.images=mine"], True),
        ("data: {shapes: {seed: 5}, train: {images: a, annotations: b}}", [], True),
    ],
)
def test_nothing_is_drawn_where_a_later_layer_names_other_files(
    tmp_path, caplog, text, overrides, drawn
):
    caplog.set_level(logging.INFO)
    (tmp_path / "mine.yaml").write_text(text)
    cfg = load_config(tmp_path / "mine.yaml", overrides)
    assert (cfg.data.shapes is not None) is drawn
    assert ("data.shapes: nothing is drawn" in caplog.text) is not drawn


def test_keys_of_a_configuration_without_a_file_can_be_replaced():
    cfg = load_config("quickstart.yaml", ["seed=3"])
    changed = override_config(cfg, ["data.test_min_size=77", "seed=4"], "inside model.safetensors")
    assert (changed.data.test_min_size, changed.seed) == (77, 4)
    assert changed.overrides == ("seed=3", "data.test_min_size=77", "seed=4")
    same = {"data", "seed", "overrides"}
    assert changed.model_dump(exclude=same) == cfg.model_dump(exclude=same)
    with pytest.raises(ConfigError, match=r"inside model.safetensors.*\n.*data.test_min_siz"):
        override_config(cfg, ["data.test_min_siz=77"], "inside model.safetensors")


def test_a_lazy_configuration_of_detectron2_is_not_run(tmp_path):
    (tmp_path / "faster_rcnn.py").write_text("raise SystemExit('run')")
    with pytest.raises(ConfigError, match=r"faster_rcnn\.py: a Python file.*only YAML is read"):
        load_config(tmp_path / "faster_rcnn.py")


@pytest.mark.parametrize("base", ["/etc/quickstart.yaml", "C:/quickstart.yaml", "absent.yaml"])
def test_a_base_may_be_the_name_of_a_shipped_configuration_and_the_error_says_so(tmp_path, base):
    (tmp_path / "a.yaml").write_text(f"_base_: {base}")
    with pytest.raises(ConfigError, match="shipped configuration"):
        load_config(tmp_path / "a.yaml")
