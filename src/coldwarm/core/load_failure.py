"""A failure to load a cached function, as logged by the engine."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.core.finding import Evidence
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import log_name


@dataclass(frozen=True)
class LoadFailure:
    """A failure to load a cached function."""

    path: str
    reason: str
    """The text of the exception."""
    logged: str
    """The text to search for in the log."""
    by_source: bool = False
    """Whether the engine rejected it because one of its source files changed."""

    def headline(self) -> str:
        """Return the first line of the reason."""
        return self.reason.splitlines()[0] if self.reason else "(no text)"

    def evidence(self) -> Evidence:
        """Return its location in the log."""
        return Evidence(file=log_name(StartKind.WARM), record=f"{self.logged}: {self.headline()}")
