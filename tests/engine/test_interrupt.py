import os
import signal
import threading

import pytest

from resnet_backbone.engine import interrupt
from resnet_backbone.engine.interrupt import stop_flag


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_flag_and_nothing_else(number):
    former = signal.getsignal(number)
    with stop_flag() as flag:
        assert not flag and not flag.on_any_rank()
        os.kill(os.getpid(), number)
        assert flag and flag.on_any_rank()
    assert signal.getsignal(number) is former


def test_one_press_may_arrive_twice_and_a_second_press_aborts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    with stop_flag():
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += 0.1
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += 2.0
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_restored_after_an_error():
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError), stop_flag():
        raise ValueError
    assert signal.getsignal(signal.SIGTERM) is former


def test_in_another_thread_nothing_is_caught():
    seen = []

    def work():
        with stop_flag() as flag:
            seen.append(bool(flag))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
