import logging
from contextlib import contextmanager

import pytest

from resnet_backbone.errors import DataError, Interrupted
from resnet_backbone.utils.logging import (
    PACKAGE,
    deferred,
    log_final_error,
    log_of_run,
    release,
    setup,
    shown,
)


@pytest.fixture(autouse=True)
def restored():
    logger = logging.getLogger(PACKAGE)
    former = logger.level, list(logger.handlers)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = former[1]
    logger.setLevel(former[0])


@contextmanager
def program(*handlers):
    """A program that has set up these handlers; pytest has its own."""
    root = logging.getLogger()
    former, root.handlers[:] = list(root.handlers), handlers
    try:
        yield
    finally:
        root.handlers[:] = former


def lines_of(file):
    return [line.split(" ", 1)[1] for line in file.read_text().splitlines()]


def test_the_main_rank_writes_to_the_terminal_and_the_file(tmp_path, capsys):
    setup()
    with log_of_run(tmp_path / "log.txt"):
        release()
        logging.getLogger(f"{PACKAGE}.engine").info("hello")
    assert "INFO hello" in capsys.readouterr().err
    assert lines_of(tmp_path / "log.txt") == ["INFO hello"]


def test_other_ranks_warn_only_and_say_who_they_are(tmp_path, capsys):
    setup(rank=3)
    with log_of_run(tmp_path / "log.txt", rank=3):
        release()
        logging.getLogger(f"{PACKAGE}.engine").info("hello")
        logging.getLogger(f"{PACKAGE}.engine").warning("careful")
    shown = capsys.readouterr().err
    assert "hello" not in shown and "[rank 3] WARNING careful" in shown
    assert not (tmp_path / "log.txt").exists()


def test_what_is_held_back_reaches_the_file_when_it_is_released(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("of the earlier run\n")
    with log_of_run(log):
        logging.getLogger(PACKAGE).warning("one")
        assert log.read_text() == "of the earlier run\n"
        log.unlink()
        release()
        logging.getLogger(PACKAGE).warning("two")
    logging.getLogger(PACKAGE).warning("after the run")
    assert lines_of(log) == ["WARNING one", "WARNING two"]


def test_what_is_never_released_reaches_no_file(tmp_path):
    with log_of_run(tmp_path / "log.txt"):
        logging.getLogger(PACKAGE).error("one")
    assert not (tmp_path / "log.txt").exists()


def test_the_end_of_the_process_releases_nothing(tmp_path, capsys):
    """`logging.shutdown` flushes all handlers; the folder of a start that failed is gone then."""
    with log_of_run(tmp_path / "gone" / "log.txt"):
        logging.getLogger("resnet_backbone").warning("early")
        logging.shutdown()
    assert "cannot be written" not in capsys.readouterr().err


def test_a_second_run_appends_to_the_file(tmp_path):
    for word in ("one", "two"):
        with log_of_run(tmp_path / "log.txt"):
            release()
            logging.getLogger(PACKAGE).warning(word)
    assert lines_of(tmp_path / "log.txt") == ["WARNING one", "WARNING two"]


def test_the_error_that_ends_a_run_is_logged_once_it_has_begun(tmp_path):
    """Before that, the file may be that of an earlier run."""
    for begin in (False, True):
        with pytest.raises(DataError), log_of_run(tmp_path / "log.txt") as begun:
            release()
            if begin:
                begun()
            raise DataError(f"begun: {begin}")
    assert lines_of(tmp_path / "log.txt") == ["ERROR begun: True"]


def test_the_final_error_goes_to_the_file_alone(tmp_path, capsys):
    setup()
    with log_of_run(tmp_path / "log.txt"):
        release()
        log_final_error(DataError("a.jpg: damaged"))
        log_final_error(Interrupted("stopped by a signal"))
        try:
            raise ZeroDivisionError("a bug")
        except ZeroDivisionError as error:
            log_final_error(error)
    text = (tmp_path / "log.txt").read_text()
    assert "ERROR a.jpg: damaged\n" in text and "INFO stopped by a signal\n" in text
    assert "Traceback" in text and text.endswith("ZeroDivisionError: a bug\n")
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_is_said_once_and_without_a_traceback(tmp_path, capsys):
    (tmp_path / "log.txt").mkdir()
    setup()
    with log_of_run(tmp_path / "log.txt"):
        release()
        for _ in range(3):
            logging.getLogger(PACKAGE).warning("hello")
    err = capsys.readouterr().err
    assert err.count("hello") == 3 and err.count("log.txt: cannot be written") == 1
    assert "Traceback" not in err


def test_calls_from_python_are_shown_where_nothing_is_set_up(capsys):
    logger = logging.getLogger(PACKAGE)
    with program():
        with shown():
            logging.getLogger(f"{PACKAGE}.engine").info("hello")
        logger.info("outside")
    assert capsys.readouterr().err.splitlines()[0].endswith("INFO hello")
    assert logger.handlers == [] and logger.level == logging.NOTSET


def test_what_a_program_has_set_up_shows_each_line_once(capsys):
    """As in a notebook that has called `logging.basicConfig`."""
    notebook = logging.StreamHandler()
    with program(notebook), shown():
        logging.getLogger(f"{PACKAGE}.engine").info("hello")
    assert capsys.readouterr().err == "hello\n"
    assert logging.getLogger(PACKAGE).handlers == []


def test_a_level_that_a_program_has_set_is_kept(capsys):
    logging.getLogger(PACKAGE).setLevel(logging.ERROR)
    with program(), shown():
        logging.getLogger(f"{PACKAGE}.engine").warning("hello")
    assert capsys.readouterr().err == ""
    assert logging.getLogger(PACKAGE).level == logging.ERROR


def test_what_is_deferred_comes_when_it_is_asked_for_or_not_at_all(capsys):
    logger = logging.getLogger(f"{PACKAGE}.engine")
    setup()
    with deferred(logger) as emit:
        logger.info("lr: 0.02 -> 0.01")
    logger.info("data checked")
    assert capsys.readouterr().err.count("\n") == 1
    emit()
    assert "INFO lr: 0.02 -> 0.01" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), deferred(logger):
        logger.info("never")
        1 / 0  # noqa: B018
    assert capsys.readouterr().err == ""
