"""A child process that an interrupt does not leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

_INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def child(
    line: Sequence[str], *, orderly: bool, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a process whose stderr can be read. If the block raises, end it and wait for it.

    Args:
        line: The program and its arguments.
        orderly: Whether the process ends its own children after a SIGTERM. Otherwise, it is killed with them.
        environment: All of its variables; None: those of this process.
    """
    # An interrupt while the process is being created would leave it: it is delivered once there is something to end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        process = subprocess.Popen(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C is for this process, which ends the child.
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        except BaseException:
            assert process.stderr is not None
            process.stderr.close()
            with suppress(ProcessLookupError):
                if orderly:
                    process.send_signal(signal.SIGTERM)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
