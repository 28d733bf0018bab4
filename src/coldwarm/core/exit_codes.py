"""Exit codes of `coldwarm run` and `coldwarm judge`; scripts may rely on these."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes. If several apply, the precedence is 4, 3, 1."""

    HEALTHY = 0
    """All runs passed or had a known issue."""
    FAILED = 1
    """A model failed, or a known issue no longer occurs."""
    USAGE = 2
    """The command line, the catalog or the machine does not allow the request; nothing was started."""
    CRASHED = 3
    """A start crashed or exceeded its time limit."""
    INTERNAL_ERROR = 4
    """coldwarm itself failed, for example because of a bug or a full disk. There is no verdict."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM (128 + SIGINT, as a shell reports it)."""
