"""The folder that a module was imported from."""

from __future__ import annotations

import os
import sys


def import_root(file: str) -> str | None:
    """Return the longest entry of `sys.path` that contains `file`, without a trailing separator; None: there is none.

    Entries that are not strings are ignored, as Python does.
    """
    entries = [entry.rstrip(os.sep) for entry in sys.path if isinstance(entry, str) and entry]
    return max((entry for entry in entries if file.startswith(entry + os.sep)), key=len, default=None)
