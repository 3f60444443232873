"""A signal to stop is heard at whatever moment it comes, and no handler takes a lock."""

import logging
import os
import signal
import sys
import threading

import pytest

from service.process.stopping import Stopped, stop_signals
from worker.compute.interrupt import Interrupt
from worker.take import stopping as worker_stopping

pytestmark = pytest.mark.timeout(120)


class Moments:
    """Counts the bytecodes of what is run, and at the one with the given number does something."""

    def __init__(self, number, then):
        self.number, self.then, self.count = number, then, 0

    def __call__(self, frame, event, argument):
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count == self.number:
                self.then()
        return self

    def during(self, function):
        sys.settrace(self)
        try:
            return function()
        finally:
            sys.settrace(None)


def calls_of(function):
    """What is called while it runs, by name."""
    called = []

    def note(frame, event, argument):
        if event == "call":
            called.append(frame.f_code.co_qualname)
        elif event == "c_call":
            called.append(argument.__qualname__)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return called[:-1]  # the last is the end of this


@pytest.fixture
def stop():
    with stop_signals() as stop:
        yield stop


def test_a_signal_at_any_bytecode_of_the_wait_ends_it(stop):
    number, rounds = 1, 0
    while True:
        before = stop.count
        moments = Moments(number, lambda: signal.raise_signal(signal.SIGTERM))
        heard = moments.during(lambda beyond=before: stop.wait(0, beyond=beyond))
        if moments.count < number:
            break
        assert stop.count == before + 1
        # One that comes when the count was read already is there for the next look.
        assert heard or stop.wait(0, beyond=before)
        number, rounds = number + 1, rounds + 1
    assert rounds > 20


def test_an_event_would_hold_its_lock_at_some_of_those_moments():
    event = threading.Event()
    held = set()
    for number in range(1, 200):
        Moments(number, lambda: held.add(event._cond._lock.locked())).during(lambda: event.wait(0))
    assert held == {True, False}


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_waiting_ends_as_soon_as_the_signal_is_there(stop, name):
    threading.Timer(0.05, os.kill, [os.getpid(), name]).start()
    with pytest.raises(Stopped):
        stop.sleep(100)


def test_further_signals_are_waited_for_as_the_first(stop):
    signal.raise_signal(signal.SIGTERM)
    assert stop.wait(100)
    assert not stop.wait(0, beyond=1)
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()
    assert stop.wait(100, beyond=1)


def test_what_was_there_before_is_there_again():
    before = [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)]
    for block in (stop_signals, worker_stopping.Stopping(1).listening):
        with block():
            assert [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)] != before
        assert [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)] == before
        woken = signal.set_wakeup_fd(-1)
        assert woken == -1


@pytest.fixture(params=["lig serve", "the worker", "the process with the models"])
def handlers(request):
    """Those that a process has."""
    if request.param == "the process with the models":
        before = signal.getsignal(signal.SIGUSR1)
        Interrupt()
        yield [signal.SIGUSR1]
        signal.signal(signal.SIGUSR1, before)
    else:
        listening = stop_signals if request.param == "lig serve" else worker_stopping.Stopping(1).listening
        with listening():
            yield [signal.SIGTERM, signal.SIGINT]


def test_a_handler_calls_nothing_at_all(handlers):
    for name in handlers:
        handler = signal.getsignal(name)
        assert calls_of(lambda handler=handler, name=name: handler(name, None))[1:] == [handler.__qualname__]


def test_signals_are_taken_while_the_main_thread_holds_locks(handlers):
    held = [threading.Lock(), threading.Condition()._lock, logging.getLogger().manager and logging._lock]
    for lock in held:
        lock.acquire()
    try:
        for name in handlers:
            os.kill(os.getpid(), name)
            signal.raise_signal(name)
    finally:
        for lock in held:
            lock.release()


def test_the_worker_notes_the_first_signal_and_what_grace_is_left(monkeypatch):
    stopping = worker_stopping.Stopping(grace=1000)
    with stopping.listening():
        assert stopping.patience() is None and not stopping.asked
        until(lambda: stopping.asked, lambda: os.kill(os.getpid(), signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGTERM)  # the same, passed on by another
        assert 900 < stopping.patience() <= 1000
        monkeypatch.setattr(worker_stopping, "SAME_SIGNAL_SECONDS", -1)
        until(lambda: stopping.patience() <= 0, lambda: os.kill(os.getpid(), signal.SIGTERM))


def until(holds, begin):
    begin()
    waiting = threading.Event()
    while not holds():
        waiting.wait(0.01)
