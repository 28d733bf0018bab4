"""Finds the checkout that a run tests: that of the engine, or else that of the current folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from coldwarm.core.checkout import FOLDER, Checkout
from coldwarm.engines.base import Installation

_PATIENCE = 10.0
"""Seconds that git may take."""


def checkout_under_test(engine: Installation | None, folder: Path) -> Checkout | None:
    """Return the checkout from which the engine is installed, or else that of `folder`; None: there is neither.

    Args:
        engine: The installed engine; None: it is not known which one is used.
        folder: The folder in which coldwarm runs.
    """
    # An environment may be inside of a repository that ignores it.
    if engine is not None and _git(engine.package, "ls-files", "--error-unmatch", "__init__.py") is not None:
        return _checkout(engine.name, engine.package)
    return _checkout(FOLDER, folder)


def _checkout(name: str, folder: Path) -> Checkout | None:
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return Checkout(of=name, commit=commit, has_local_changes=bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None: it failed, or there is no git."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
