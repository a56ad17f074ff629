import json

import pytest

from resnet_backbone.cli import compare as compare_command
from resnet_backbone.errors import ConfigError, StorageError


@pytest.fixture
def runs(tmp_path):
    for name, start in (("one", 0.1), ("two", 0.3)):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": n, "bbox/AP": start + n / 10}) for n in range(4)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines))
    return tmp_path


def draw(runs, *folders, metric="bbox/AP"):
    picture = runs / "out.png"
    compare_command.main([*folders, "--metric", metric, "--output", str(picture)])
    return picture


def test_runs_are_drawn(runs, capsys):
    picture = draw(runs, f"scratch={runs / 'one'}", str(runs / "two"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"bbox/AP of 2 runs: {picture}\n"


def test_what_is_missing_is_said(runs):
    with pytest.raises(ConfigError, match=r"one.metrics.jsonl: no metric 'x'; found bbox/AP"):
        draw(runs, str(runs / "one"), metric="x")
    with pytest.raises(ConfigError, match=r"no metric 'mAP'; did you mean bbox/AP\?"):
        draw(runs, str(runs / "one"), metric="mAP")
    with pytest.raises(StorageError, match=r"absent.metrics.jsonl: cannot be read: No such file"):
        draw(runs, str(runs / "absent"))
    with pytest.raises(ConfigError, match="same label"):
        draw(runs, f"a={runs / 'one'}", f"a={runs / 'two'}")
