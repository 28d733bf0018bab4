"""Records the files outside of its own folders that the process of a start opens."""

# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH120
# Strings instead of `Path`, for speed: the hook is called for every file that is opened.

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from coldwarm.core.record import ProcessReport
from coldwarm.core.seen_in_process import FILES_RECORDED, OutsideUse

# Nothing in these folders is stored permanently.
_NO_FILES = ("/dev/", "/proc/", "/sys/", "/run/")
_OWN_CODE = {__name__, "os", "posixpath", "genericpath", "codecs"}
"""The modules whose code runs in the hook."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events that write (Python's documentation, "Audit events table"), and the index of the argument that is the
# written path.
_WRITES = {
    "os.mkdir": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.remove": 0,
    "os.truncate": 0,
    "sqlite3.connect": 0,
}


class OutsideProbe:
    """Reports the files that this process opens, but not those that its children open.

    Args:
        own: The start's own folders.
        caches: Folders in which the user's own starts store caches.
    """

    name = "outside"

    def __init__(self, own: Iterable[Path], caches: Iterable[Path]) -> None:
        self._own = prefixes(own)
        self._caches = prefixes(caches)
        self._watching = True
        self._problem: Exception | None = None
        self._caches_written: dict[str, None] = {}
        self._caches_read: dict[str, None] = {}
        self._written: dict[str, None] = {}

    def install(self) -> None:
        """Record the files that are opened from now on."""
        sys.addaudithook(self._on_event)

    def stop(self) -> None:
        """Stop recording; the hook itself cannot be removed."""
        self._watching = False

    def report(self, report: ProcessReport) -> None:
        """Report the files opened so far; then raise the first error that occurred in recording one."""
        report.outside = self.use()
        if self._problem is not None:
            raise self._problem

    def use(self) -> OutsideUse:
        """Return the files opened so far."""
        return OutsideUse(
            caches_written=sorted(self._caches_written),
            caches_read=sorted(self._caches_read),
            # Files that were removed are temporary, not a cache. A copy: another thread may be opening files.
            written=sorted(filter(os.path.exists, list(self._written))),
        )

    def _on_event(self, event: str, arguments: tuple[object, ...]) -> None:
        # Called for every event of the process, 590,000 in a cold start; the next line rejects nearly all of them.
        if event != "open" and event not in _WRITES:
            return
        # An exception here would be raised in the code that opens the file.
        try:
            if self._watching:
                self._record(event, arguments)
        except Exception as error:
            if _is_of_the_program(error):
                raise
            # Opening the file fails, too, such as a relative path in a folder that was removed.
            if not isinstance(error, OSError | ValueError):
                self._problem = self._problem or error

    def _record(self, event: str, arguments: tuple[object, ...]) -> None:
        path = arguments[_WRITES.get(event, 0)]
        if not isinstance(path, str | bytes | os.PathLike):  # a file descriptor
            return
        name = os.path.abspath(os.fsdecode(path))
        flags = arguments[2] if event == "open" else _WRITING
        writes = isinstance(flags, int) and flags & _WRITING != 0
        if not writes:
            if name.startswith(self._caches) and not name.startswith(self._own) and os.path.isfile(name):
                _add(self._caches_read, name)
        elif not name.startswith((*self._own, *_NO_FILES)) and _can_be_written(event, name):
            _add(self._caches_written if name.startswith(self._caches) else self._written, name)


def _is_of_the_program(error: Exception) -> bool:
    """Return whether code of the program raised `error`: a handler of a signal may run at any time."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") not in _OWN_CODE:
            return True
        traceback = traceback.tb_next
    return False


def _can_be_written(event: str, name: str) -> bool:
    """Return whether the write can succeed: Python reports an event before the operation, even if it then fails."""
    if event == "os.mkdir":
        # `os.makedirs` also tries to create folders that exist.
        return not os.path.isdir(name) and os.access(os.path.dirname(name), os.W_OK)
    # Python's bytecode is covered by coldwarm.observe.bytecode.
    if ".pyc" in name and (f"{os.sep}__pycache__{os.sep}" in name or name.startswith(sys.pycache_prefix or "\0")):
        return False
    if not os.path.exists(name):
        return event != "os.remove" and os.access(os.path.dirname(name), os.W_OK)
    return os.path.isfile(name) and os.access(name, os.W_OK)


def _add(files: dict[str, None], name: str) -> None:
    if len(files) < FILES_RECORDED:
        files[name] = None


def prefixes(folders: Iterable[Path]) -> tuple[str, ...]:
    """Return the prefixes of all paths below `folders`, both as given and with symbolic links resolved."""
    paths = {spelled for folder in folders for spelled in (os.path.abspath(folder), os.path.realpath(folder))}
    return tuple(path.rstrip(os.sep) + os.sep for path in sorted(paths))
