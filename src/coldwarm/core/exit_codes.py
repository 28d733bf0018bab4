"""What `coldwarm run` and `coldwarm judge` exit with; scripts may rely on these."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes; where several apply, the one that says least was proven wins: 4, then 3, then 1."""

    HEALTHY = 0
    """All that ran passed, or showed a known issue."""
    FAILED = 1
    """A model failed, or a known issue no longer shows."""
    USAGE = 2
    """The command line, the catalog or the machine cannot do what was asked; nothing was started."""
    CRASHED = 3
    """A start crashed or ran past its time limit."""
    INTERNAL_ERROR = 4
    """coldwarm itself could not go on: a defect of it, a full disk. No verdict, whatever else was printed."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM (128 + SIGINT, as a shell reports it)."""
