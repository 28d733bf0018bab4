"""What a worker tells the launcher while it works: the phase it is in."""

from __future__ import annotations

import json
import os
from contextlib import suppress


class Progress:
    """The worker's side of the pipe to the launcher."""

    def __init__(self, events_fd: int) -> None:
        self._fd = events_fd
        self.phase: str | None = None

    def enter(self, phase: str) -> None:
        """Say that `phase` begins; entering the phase one is in says nothing."""
        if phase != self.phase:
            self.phase = phase
            # One write of a short line is atomic on a pipe; a launcher that is gone needs no progress.
            with suppress(OSError):
                os.write(self._fd, json.dumps({"phase": phase}).encode() + b"\n")
