"""A short folder for the sockets of a start whose temporary folder has a long path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from coldwarm.launch.environment import SOCKETS
from coldwarm.launch.leftovers import PREFIX, SHORT_FOLDER, mark_as_own

_MOST_CHARACTERS = 107
"""The longest path of a Unix socket (unix(7), ``sun_path``)."""
_LONGEST_NAME = 40
"""A slash and a name: engines use a UUID, which has 36 characters."""


@contextmanager
def socket_folder(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the variables with which engines put their sockets into a short folder, which is removed at the end.

    None are needed if the temporary folder is short, or if the user has set them.

    Args:
        environment: The environment of the start.
    """
    names = sorted(SOCKETS - environment.keys())
    temporary = os.fsencode(environment.get("TMPDIR") or tempfile.gettempdir())
    if not names or len(temporary) + _LONGEST_NAME <= _MOST_CHARACTERS or not os.access(SHORT_FOLDER, os.W_OK):
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=SHORT_FOLDER, ignore_cleanup_errors=True) as folder:
        mark_as_own(Path(folder))
        yield dict.fromkeys(names, folder)
