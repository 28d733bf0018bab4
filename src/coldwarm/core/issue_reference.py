"""How messages refer to a known issue: by its URL, or by the command that shows its page."""

from __future__ import annotations

import shlex
from typing import Protocol


class Linked(Protocol):
    """A known issue, as declared or as seen in a run."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def link(self) -> str:
        """The URL of an issue, or the path of a page."""


def is_url(link: str) -> bool:
    """Return whether the link of a known issue is a URL; otherwise, it is the path of a page."""
    return "://" in link


def reference(issue: Linked, *, quoted: bool = False) -> str:
    """Return where to read about a known issue: its URL, or the command that shows its page.

    The path of a page would lead nowhere, except from the folder to which it is relative.

    Args:
        issue: The issue.
        quoted: Whether a command is in backticks.
    """
    if is_url(issue.link):
        return issue.link
    command = f"coldwarm show {shlex.quote(issue.id)}"
    return f"`{command}`" if quoted else command
