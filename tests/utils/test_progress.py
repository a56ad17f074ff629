import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from resnet_backbone.utils.progress import bar_options, track

BAR = """
from resnet_backbone.utils.progress import track
list(track(range(3), "reading", "read", "file"))
"""


def test_items_are_passed_on_and_the_log_says_how_far_long_work_is(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    assert list(track("abc", "reading", "read", "file")) == ["a", "b", "c"]
    assert list(track("", "reading", "read", "file")) == []
    assert caplog.messages == []
    times = iter([0, 16, 31, 47, 62, 63, 99])  # in seconds, before the first and after each item
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    assert list(track("abcdef", "reading", "read", "file")) == list("abcdef")
    assert caplog.messages == [f"read {done} of 6 files" for done in (2, 4, 6)]


def test_only_the_main_rank_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(track("abc", "reading", "read", "file", bar=False))
    assert capsys.readouterr().err == ""
    list(track("abc", "reading", "read", "file"))
    assert "reading" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(0, 0), (24, 100)])
def test_a_bar_is_drawn_also_on_a_terminal_that_does_not_know_its_size(size):
    """As within `script`, when its own input is no terminal."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    subprocess.run([sys.executable, "-c", BAR], stderr=writer, check=True)
    os.close(writer)
    drawn = os.read(reader, 10_000).decode()
    assert "reading:   0%|  " in drawn and "0/3" in drawn


def test_without_a_terminal_there_is_no_bar():
    assert bar_options() == {"disable": True}
