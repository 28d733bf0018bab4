"""Finds out why a process was forked."""

from __future__ import annotations

import sys


def runs_another_program() -> bool:
    """Return whether this process was just forked by `subprocess`, and is about to run another program.

    With ``preexec_fn``, Python runs the hooks for forked processes in it. It must not get threads: functions such as
    `os.unshare` fail in a process that has several. And what the next program does is not observed.
    """
    frame = sys._getframe(1)
    while frame is not None:
        # By name, because most Python processes of a command do not import the module.
        if frame.f_code.co_name == "_execute_child" and frame.f_globals.get("__name__") == "subprocess":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
