import re

import pytest

from resnet_backbone.config.annotate import annotate
from resnet_backbone.config.load import as_tree, list_configs, load_any_config, load_with_origins


def annotated(name, overrides=(), changes=()):
    cfg, origins = load_with_origins(name, overrides)
    return cfg, annotate(as_tree(cfg), origins, dict(changes))


def comment(text, key):
    """The comment behind the only line that sets `key`."""
    (line,) = re.findall(rf"^ *{key}:.*$", text, re.MULTILINE)
    return line.partition("  # ")[2]


@pytest.mark.parametrize("name", list_configs())
@pytest.mark.parametrize(
    "overrides", [[], ["solver.max_iter=777", "imports=['a b']"], ["solver.epochs=2.5"]]
)
def test_what_is_printed_loads_back_equal(tmp_path, name, overrides):
    if "solver.epochs=2.5" in overrides and load_any_config(name).task == "classification":
        overrides = [*overrides, "data.progressive=[]"]
    cfg, text = annotated(name, overrides)
    file = tmp_path / f"{cfg.name}.yaml"
    file.write_text(text)
    assert load_any_config(file) == cfg


def test_each_value_says_where_it_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "_base_: coco_mrcnn_r50.yaml\nseed: 4\nmodel:\n  num_classes: 3\nsolver: {max_iter: 9000}\n"
    )
    changes = {"solver.lr": 0.0025, "solver.milestones": (1, 2)}
    cfg, text = annotated("mine.yaml", ["data.root=/my data"], changes)
    assert comment(text, "seed") == "mine.yaml, line 2"
    assert comment(text, "num_classes") == "mine.yaml, line 4"
    assert comment(text, "max_iter") == "mine.yaml, line 5"
    assert comment(text, "milestones") == "fitted: mine.yaml, line 5; in this run: [1, 2]"
    assert comment(text, "mask") == "coco_mrcnn_r50.yaml, line 14"
    assert comment(text, "architecture") == "base/fpn.yaml, line 6"
    assert comment(text, "root") == "command line"
    assert comment(text, "lr") == "default; in this run: 0.0025"
    assert comment(text, "solver") == ""
    assert cfg.solver.milestones == (6000, 8000)


def test_what_follows_from_another_key_says_so():
    _, text = annotated("quickstart.yaml", ["data.root=d", "data.val.annotations=v.json"])
    assert comment(text, "shapes") == "since data.val.annotations is set"
    _, text = annotated("coco_frcnn_r50.yaml", ["solver.epochs=3"])
    assert comment(text, "reference_max_iter") == "the length that the schedule is for"
    assert not re.search(r"^ *max_iter:", text, re.MULTILINE)
    _, text = annotated("coco_frcnn_r50.yaml")
    assert "overrides" not in text
