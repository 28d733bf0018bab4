"""The console for all output; it prints text literally, whatever a log or a path contains."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console

from coldwarm.core.exit_codes import ExitCode

# If there is no terminal, tables are not cut to 80 columns.
_FILE_WIDTH = 200


class PlainConsole(Console):
    """A console that does not interpret markup or emoji codes, and does not highlight."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.width = _FILE_WIDTH

    def on_broken_pipe(self) -> NoReturn:
        """Exit with 0 if the reader closes the pipe early, as in `coldwarm list | head -1`."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(ExitCode.HEALTHY) from None
        raise SystemExit(ExitCode.HEALTHY)
