"""Removes what a coldwarm that was killed left: its temporary folder, and the processes of its starts.

The folder names the process that it belongs to. Only those of the same machine, user and container are removed, because
a temporary folder may be shared with others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from coldwarm.core.user_paths import temporary_folder
from coldwarm.core.variables import OBSERVATION_VARIABLE, REQUEST_VARIABLE, TOKEN_VARIABLE
from coldwarm.launch.process_tree import identity_of

PREFIX = "coldwarm-"
"""The beginning of the name of coldwarm's temporary folders."""
SHORT_FOLDER = Path("/tmp")
"""Where they are if the user's temporary folder has too long a path."""
_OWNER = "owner.json"


def mark_as_own(folder: Path, *, has_users_command: bool = False) -> None:
    """Note in `folder` that it belongs to this process.

    Args:
        folder: The folder.
        has_users_command: Whether the user's own command runs with it, which must go on if coldwarm is killed.
    """
    own = os.getpid()
    owner = {"pid": own, "ticks": _ticks(own), "where": _where(), "has_users_command": has_users_command}
    (folder / _OWNER).write_text(json.dumps(owner), encoding="utf-8")


def remove_leftovers() -> None:
    """Remove coldwarm's temporary folders whose process was killed, and end its starts.

    A command that `coldwarm watch` started is the user's, and may still be serving: it is not ended, and its folder
    stays until it has ended.
    """
    parents = dict.fromkeys((temporary_folder(), SHORT_FOLDER))
    for folder in (each for parent in parents for each in parent.glob(f"{PREFIX}*")):
        owner = _owner_of(folder)
        if owner is None or not _has_ended(owner):
            continue
        processes = _processes_of(folder)
        if owner["has_users_command"] and processes:
            continue
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _owner_of(folder: Path) -> dict[str, Any] | None:
    """Return what `mark_as_own` noted; None: not coldwarm's, not of this machine, or being created or removed."""
    try:
        if folder.stat().st_uid != os.getuid():
            return None
        owner = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        is_known = owner["where"] == _where() and owner.keys() >= {"pid", "ticks", "has_users_command"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return owner if is_known else None


def _has_ended(owner: dict[str, Any]) -> bool:
    try:
        return bool(_ticks(owner["pid"]) != owner["ticks"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False


def _ticks(pid: int) -> int:
    """Return when a process began, in clock ticks since the machine was booted (proc_pid_stat(5), ``starttime``).

    Not `psutil.Process.create_time`: it changes when the machine's clock is set, and a run would seem to have ended.

    Raises:
        OSError: There is no such process.
    """
    # The second field, the name of the program, is in parentheses and may have any character.
    after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    return int(after_name.split()[19])


def _where() -> list[str]:
    """Return what identifies the machine, and the container in which the ids of processes are those of this one."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return [socket.gethostname(), space]


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes whose environment says that they belong to a start in `folder`."""
    below = f"{folder}{os.sep}"
    found = []
    for process in filter(None, map(identity_of, psutil.pids())):
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            places = (environment.get(name, "") for name in (REQUEST_VARIABLE, OBSERVATION_VARIABLE))
            if TOKEN_VARIABLE in environment and any(place.startswith(below) for place in places):
                found.append(process)
    return found
