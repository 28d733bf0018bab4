"""A cached function that was found and could not be loaded, as the engine logged it."""

from __future__ import annotations

from dataclasses import dataclass

from coldwarm.core.finding import Evidence
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import log_name


@dataclass(frozen=True)
class LoadFailure:
    """A cached function that was found and could not be loaded."""

    path: str
    reason: str
    """The text of the exception."""
    logged: str
    """What to search for in the log."""
    by_source: bool = False
    """Whether the engine refused to load it because a source file that it was traced from changed."""

    def headline(self) -> str:
        """Return the first line of the reason."""
        return self.reason.splitlines()[0] if self.reason else "(no text)"

    def evidence(self) -> Evidence:
        """Return where it is logged."""
        return Evidence(file=log_name(StartKind.WARM), record=f"{self.logged}: {self.headline()}")
