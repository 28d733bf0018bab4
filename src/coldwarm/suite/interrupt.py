"""Turns SIGINT (Ctrl-C), SIGTERM and SIGHUP into a single KeyboardInterrupt, so that a suite ends cleanly."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def orderly_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first of these signals, and ignore further ones during cleanup.

    A signal that is already ignored (`nohup coldwarm run`) stays ignored.
    """
    handled = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
