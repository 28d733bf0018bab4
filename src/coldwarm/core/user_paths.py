"""Paths as users write them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from coldwarm.core.errors import UsageError


def expanded(path: str | Path) -> Path:
    """Return `path` with a leading ``~`` or ``~USER`` replaced by that home folder.

    Raises:
        UsageError: There is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: there is no such user, or one without a home folder") from error


def folder_of_setting(value: str) -> Path:
    """Return the folder that a variable or an option names, as engines read it: an unknown ``~USER`` is a name."""
    return Path(os.path.expanduser(value))  # noqa: PTH111 - `Path.expanduser` raises


def temporary_folder() -> Path:
    """Return the user's folder for temporary files.

    Raises:
        UsageError: None can be written, as in a container whose file system is read-only.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UsageError(
            "no folder for temporary files can be written, or each is full: set TMPDIR to one, for example on a volume"
        ) from error
