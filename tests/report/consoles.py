"""Consoles whose output can be read."""

from __future__ import annotations

import io

from rich.console import Console


class Paper:
    """A console without colours; `text` is what was printed."""

    def __init__(self, width: int = 200, *, terminal: bool = False) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=width, force_terminal=terminal, color_system=None)

    @property
    def text(self) -> str:
        return self._file.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()
