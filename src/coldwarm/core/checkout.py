"""The commit of what a run tests, as plain data."""

from __future__ import annotations

import re

from pydantic import BaseModel

FOLDER = "folder"
"""`Checkout.of` for the checkout in whose folder coldwarm ran."""

# setuptools-scm and others: 0.33.1.dev12+g0123456789.cu130
_COMMIT_IN_VERSION = re.compile(r"\+(?:.*\.)?g([0-9a-f]{7,40})(?:\.|$)")


class Checkout(BaseModel):
    """A checkout of a git repository."""

    of: str
    """The name of the engine that is installed from it, or `FOLDER`."""
    commit: str
    has_local_changes: bool = False
    """Whether tracked files were changed and not committed."""


def commit_in_version(version: str) -> str | None:
    """Return the commit that a development version names (``0.33.1.dev12+g0123456789``); None: it names none."""
    found = _COMMIT_IN_VERSION.search(version)
    return None if found is None else found[1]
