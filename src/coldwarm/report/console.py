"""The console that everything is printed to: text is shown as it is, whatever a log or a path holds."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console

from coldwarm.core.exit_codes import ExitCode

# Where no terminal says how wide it is, a table is not cut to 80 columns.
_WIDTH_OF_A_FILE = 200


class PlainConsole(Console):
    """A console that reads no markup, emoji codes or highlights into what it prints."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not self.is_terminal:
            self.width = _WIDTH_OF_A_FILE

    def on_broken_pipe(self) -> NoReturn:
        """A reader that has seen enough (`coldwarm list | head -1`) is no error."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(ExitCode.HEALTHY) from None
        raise SystemExit(ExitCode.HEALTHY)
