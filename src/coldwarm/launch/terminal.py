"""The terminal of a command that has a process group of its own, as a shell gives it to the job in the foreground."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


class Terminal:
    """The controlling terminal of this process, if this process group is in its foreground.

    Without one, as in a container or in CI, all methods do nothing.
    """

    def __init__(self) -> None:
        self._own = os.getpgrp()
        self._commands: int | None = None
        self._file: int | None = None
        with suppress(OSError):  # there is none
            self._file = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
            if os.tcgetpgrp(self._file) != self._own:
                os.close(self._file)
                self._file = None

    @property
    def is_given(self) -> bool:
        """Whether this process had a terminal to give, so that what is typed there reaches the command."""
        return self._file is not None

    def is_of(self, group: int) -> None:
        """Note the command's process group, which its process puts in the foreground itself."""
        self._commands = group

    def give(self, group: int) -> None:
        """Put a process group in the foreground. Called by the command's process before its program runs, too."""
        if self._file is not None:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            # The group may have ended, and the terminal may be gone.
            with suppress(OSError):
                os.tcsetpgrp(self._file, group)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop_with(self, pid: int) -> None:
        """Stop this process group if the command has been stopped (Ctrl-Z), and continue the command afterwards.

        Args:
            pid: The command's process, whose group is its own.
        """
        if self._file is None:
            return
        with suppress(OSError):
            if os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is None:
                return
            self.give(self._own)
            os.killpg(self._own, signal.SIGSTOP)
            # From here on, the shell has continued it, in the foreground (fg) or not (bg).
            if os.tcgetpgrp(self._file) == self._own:
                self.give(pid)
            os.killpg(pid, signal.SIGCONT)

    def close(self) -> None:
        """Take the terminal back from the command, but not from the shell, which has it after ``bg``."""
        if self._file is not None:
            with suppress(OSError):
                # 0: the group has ended.
                if os.tcgetpgrp(self._file) in (0, self._commands):
                    self.give(self._own)
            os.close(self._file)
            self._file = None
