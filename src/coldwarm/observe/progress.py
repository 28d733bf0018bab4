"""Reports the current phase of a start to the launcher."""

from __future__ import annotations

import json
import os
from contextlib import suppress


class Progress:
    """The worker's end of the pipe to the launcher.

    Args:
        events_fd: The file descriptor of the pipe's write end.
    """

    def __init__(self, events_fd: int) -> None:
        self._fd = events_fd
        self.phase: str | None = None

    def enter(self, phase: str) -> None:
        """Report that `phase` begins. Has no effect if it is the current one."""
        if phase != self.phase:
            self.phase = phase
            # A single write of a short line to a pipe is atomic. It fails if the launcher has ended, which is harmless.
            with suppress(OSError):
                os.write(self._fd, json.dumps({"phase": phase}).encode() + b"\n")
