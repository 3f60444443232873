"""Child processes that do not outlive this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from lig_core.serving.processes import die_with


def start(
    command: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    keep_open: Sequence[int] = (),
    quiet: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C reaches only this one.

    Where the kernel can (Linux), the child gets `death_signal` when this process ends, however it ends.
    """
    output = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(
        command,
        env=environment,
        pass_fds=keep_open,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        # Safe here: every caller starts its children before it starts a thread.
        preexec_fn=partial(die_with, os.getpid(), death_signal) if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, then SIGKILL after `grace` seconds. Returns when the process is gone."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
