"""Training from Python; what training does is tested in tests/engine/test_train.py."""

import logging
import signal
import threading
from pathlib import Path

import pytest
import tiny_runs
import toy

from resnet_backbone.errors import ConfigError, DataError, StorageError
from resnet_backbone.tasks.train import train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tmp_path_factory.mktemp("images") / "two"


def weights_of(result):
    return result.weights.read_bytes()


def test_a_second_run_in_the_same_process_is_the_same(images, tmp_path):
    cfg = tiny_runs.classifier_config(images, tmp_path)
    first = train(cfg, output=tmp_path / "a", seed=3)
    logger = logging.getLogger("resnet_backbone")
    before = list(logger.handlers), logger.level
    second = train(cfg, {"output": str(tmp_path / "b")}, seed=3)
    assert second.output == tmp_path / "b"
    assert first.metrics == second.metrics
    assert first.classification.top1_error == first.best.value
    with pytest.raises(StorageError, match="holds another run"):
        train(cfg, output=tmp_path / "a")
    assert weights_of(train(cfg, output=tmp_path / "a", overwrite=True)) != weights_of(second)
    # The log file of a run that is over is closed, and what the program had set up is as before.
    assert (list(logger.handlers), logger.level) == before


def test_outside_of_the_main_thread_signals_stay_with_the_program(images, tmp_path):
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    results = []
    cfg = tiny_runs.classifier_config(images, tmp_path / "run")
    thread = threading.Thread(target=lambda: results.append(train(cfg)))
    thread.start()
    thread.join()
    assert results[0].step == 6
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former


def test_a_task_of_ones_own(tmp_path):
    """What a toy detector predicts is judged as a detector's."""
    result = train(toy.config(tmp_path), task=toy.ToyTask)
    assert result.step == toy.config(tmp_path).solver.max_iter
    assert 0 <= result.bbox.AP <= 1


def test_errors_are_exceptions(images, tmp_path):
    with pytest.raises(ConfigError, match="no shipped configuration"):
        train("quikstart.yaml")
    cfg = tiny_runs.classifier_config(images, tmp_path / "run")
    with pytest.raises(DataError, match="absent"):
        train(cfg, data={"root": str(Path("absent"))})
