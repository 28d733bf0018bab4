"""No command line is that of the fake engine."""

from __future__ import annotations

from collections.abc import Sequence


def hints(words: Sequence[str]) -> None:
    """Return None."""
