"""Removes what a coldwarm that was killed left: its temporary folder, and the processes of its starts.

The folder names the process that it belongs to. Only those of the same machine, user and container are removed, because
a temporary folder may be shared with others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from coldwarm.core.variables import OBSERVATION_VARIABLE, REQUEST_VARIABLE, TOKEN_VARIABLE
from coldwarm.launch.process_tree import identity_of

PREFIX = "coldwarm-"
"""The beginning of the name of coldwarm's temporary folders."""
_OWNER = "owner.json"
# Processes differ by more than a hundredth of a second, the precision of the kernel.
_SAME_TIME_SECONDS = 0.05


def mark_as_own(folder: Path) -> None:
    """Note in `folder` that it belongs to this process."""
    own = psutil.Process()
    owner = {"pid": own.pid, "began": own.create_time(), "where": _where()}
    (folder / _OWNER).write_text(json.dumps(owner), encoding="utf-8")


def remove_leftovers() -> None:
    """Remove the folders below the user's temporary folder whose process was killed, and end its starts."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_left(folder):
            _end_processes(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        if folder.stat().st_uid != os.getuid():
            return False
        owner = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        if owner["where"] != _where():
            return False
        process = identity_of(owner["pid"])
        return process is None or abs(process.create_time() - owner["began"]) > _SAME_TIME_SECONDS
    except psutil.NoSuchProcess:
        return True
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # not coldwarm's, or being created or removed
        return False


def _where() -> list[str]:
    """Return what identifies the machine, and the container in which the ids of processes are those of this one."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return [socket.gethostname(), space]


def _end_processes(folder: Path) -> None:
    """End the processes whose environment says that they belong to a start in `folder`."""
    below = f"{folder}{os.sep}"
    for process in filter(None, map(identity_of, psutil.pids())):
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            places = (environment.get(name, "") for name in (REQUEST_VARIABLE, OBSERVATION_VARIABLE))
            if TOKEN_VARIABLE in environment and any(place.startswith(below) for place in places):
                process.kill()
