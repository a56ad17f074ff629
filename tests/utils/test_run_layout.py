"""A run's folder stands for its final weights."""

import pytest

from resnet_backbone.errors import WeightsError
from resnet_backbone.utils.run_layout import WEIGHTS, weights_in


def test_a_finished_run_stands_for_its_final_weights(tmp_path, monkeypatch):
    (tmp_path / WEIGHTS).write_text("")
    assert weights_in(str(tmp_path)) == tmp_path / WEIGHTS
    assert weights_in(tmp_path / WEIGHTS) == tmp_path / WEIGHTS
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert weights_in(f"~/{tmp_path.name}") == tmp_path / WEIGHTS
    assert weights_in("absent.pth").name == "absent.pth"  # reading it says that it is absent


def test_of_an_unfinished_run_the_best_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=f"a folder without {WEIGHTS}.*expected a weight file"):
        weights_in(tmp_path)
    best = tmp_path / "best" / "step_00000004" / WEIGHTS
    best.parent.mkdir(parents=True)
    best.write_text("")
    with pytest.raises(WeightsError, match=f"the best weights so far are {best}"):
        weights_in(tmp_path)


def test_the_folder_of_the_best_weights_stands_for_them(tmp_path):
    best = tmp_path / "best" / "step_00000004" / WEIGHTS
    best.parent.mkdir(parents=True)
    best.write_text("")
    assert weights_in(tmp_path / "best") == best
    best.unlink()
    with pytest.raises(WeightsError, match="expected a weight file"):
        weights_in(tmp_path / "best")
