import logging

import pytest

from resnet_backbone.utils.logging import PACKAGE, setup


@pytest.fixture(autouse=True)
def restored():
    logger = logging.getLogger(PACKAGE)
    former = logger.level, list(logger.handlers)
    yield
    for handler in logger.handlers:
        handler.close()
    logger.level, logger.handlers[:] = former


def test_the_main_rank_writes_to_the_terminal_and_the_file(tmp_path, capsys):
    setup(tmp_path / "log.txt", rank=0)
    logging.getLogger(f"{PACKAGE}.engine").info("hello")
    assert "INFO hello" in capsys.readouterr().err
    assert "INFO hello" in (tmp_path / "log.txt").read_text()


def test_other_ranks_warn_only_and_say_who_they_are(tmp_path, capsys):
    setup(tmp_path / "log.txt", rank=3)
    logging.getLogger(f"{PACKAGE}.engine").info("hello")
    logging.getLogger(f"{PACKAGE}.engine").warning("careful")
    shown = capsys.readouterr().err
    assert "hello" not in shown and "[rank 3] WARNING careful" in shown
    assert not (tmp_path / "log.txt").exists()


def test_a_second_call_replaces_the_first_and_appends_to_the_file(tmp_path):
    setup(tmp_path / "log.txt")
    logging.getLogger(PACKAGE).info("one")
    setup(tmp_path / "log.txt")
    logging.getLogger(PACKAGE).info("two")
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2
