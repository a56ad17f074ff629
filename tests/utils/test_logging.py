import logging

import pytest

from resnet_backbone.errors import DataError, Interrupted
from resnet_backbone.utils.logging import (
    PACKAGE,
    deferred,
    final_error,
    log_final_error,
    release,
    setup,
)


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


def test_what_is_held_back_reaches_the_file_when_it_is_released(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("of the earlier run\n")
    setup(log, hold_back=True)
    logging.getLogger(PACKAGE).warning("one")
    assert log.read_text() == "of the earlier run\n"
    log.unlink()
    release()
    logging.getLogger(PACKAGE).info("two")
    assert [line.split()[-1] for line in log.read_text().splitlines()] == ["one", "two"]


def test_what_is_never_released_reaches_no_file(tmp_path):
    setup(tmp_path / "log.txt", hold_back=True)
    logging.getLogger(PACKAGE).error("one")
    setup()
    assert not (tmp_path / "log.txt").exists()


def test_the_end_of_the_process_releases_nothing(tmp_path, capsys):
    """`logging.shutdown` flushes all handlers; the folder of a start that failed is gone then."""
    setup(tmp_path / "gone" / "log.txt", hold_back=True)
    logging.getLogger("resnet_backbone").info("early")
    logging.shutdown()
    assert "cannot be written" not in capsys.readouterr().err


def test_a_second_call_replaces_the_first_and_appends_to_the_file(tmp_path):
    setup(tmp_path / "log.txt")
    logging.getLogger(PACKAGE).info("one")
    setup(tmp_path / "log.txt")
    logging.getLogger(PACKAGE).info("two")
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2


def test_the_error_that_ends_a_block_is_logged_once_the_run_has_begun(tmp_path):
    """Before that, the file may be that of an earlier run in the same process."""
    setup(tmp_path / "log.txt")
    for begin in (False, True):
        with pytest.raises(DataError), final_error() as begun:
            if begin:
                begun()
            raise DataError(f"begun: {begin}")
    assert [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == [
        "ERROR begun: True"
    ]


def test_the_final_error_goes_to_the_file_alone(tmp_path, capsys):
    setup(tmp_path / "log.txt")
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
    setup(tmp_path / "log.txt")
    for _ in range(3):
        logging.getLogger(PACKAGE).warning("hello")
    err = capsys.readouterr().err
    assert err.count("hello") == 3 and err.count("log.txt: cannot be written") == 1
    assert "Traceback" not in err


def test_what_is_deferred_comes_when_it_is_asked_for_or_not_at_all(caplog):
    logger = logging.getLogger(f"{PACKAGE}.engine")
    caplog.set_level(logging.INFO, logger=PACKAGE)
    with deferred(logger) as emit:
        logger.info("lr: 0.02 -> 0.01")
    logger.info("data checked")
    assert caplog.messages == ["data checked"]
    emit()
    assert caplog.messages == ["data checked", "lr: 0.02 -> 0.01"]
    with pytest.raises(ZeroDivisionError), deferred(logger):
        logger.info("never")
        1 / 0  # noqa: B018
    assert "never" not in caplog.messages
