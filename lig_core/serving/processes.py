"""Signals to stop, and processes that do not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SIGNAL_SECONDS = 1.0
"""A supervisor and the system may both pass the same signal on."""

PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec, as little as possible.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with(parent: int, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Where the kernel can (Linux), get `death_signal` when the process `parent` ends, however it ends."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


@contextlib.contextmanager
def stop_signals_written_to(pipe: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While the block runs, have the interpreter write the number of each signal to a pipe; in the main thread alone.

    A handler runs between two bytecodes of the main thread, whatever it holds just then: one that takes a lock may wait
    for itself for ever. So `handler` does next to nothing, but without one there is no byte.
    """
    os.set_blocking(pipe, False)
    woken = signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
    before = {name: signal.signal(name, handler) for name in STOP_SIGNALS}
    try:
        yield
    finally:
        for name, earlier in before.items():
            signal.signal(name, earlier)
        signal.set_wakeup_fd(woken)
