"""Watches everything that is logged in this process, whatever the loggers are configured to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from coldwarm.core.record import Message, ProcessReport


def watch_logs(on_record: Callable[[logging.LogRecord], None]) -> None:
    """Call `on_record` with every record that is logged from now on.

    By the record factory, not by handlers: engines configure logging anew while they start
    (vllm/logger.py, `dictConfig`), which drops the handlers of every logger below theirs.
    """
    make = logging.getLogRecordFactory()

    def make_and_tell(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        on_record(record)
        return record

    logging.setLogRecordFactory(make_and_tell)


class WarningProbe:
    """Reports what some loggers, and those below them, log at WARNING or above, each text once."""

    name = "warnings"

    def __init__(self, loggers: tuple[str, ...]) -> None:
        self._loggers = loggers
        self._problem: Exception | None = None
        self.messages: list[Message] = []

    def install(self) -> None:
        """Watch everything that is logged from now on."""
        watch_logs(self)

    def report(self, report: ProcessReport) -> None:
        """Report the messages; then raise what went wrong with others."""
        report.messages = list(self.messages)
        if self._problem is not None:
            raise self._problem

    def __call__(self, record: logging.LogRecord) -> None:
        """Store `record` if it is one of those; raises nothing, since whatever logs it would fail."""
        try:
            self._take(record)
        except Exception as error:
            self._problem = self._problem or error

    def _take(self, record: logging.LogRecord) -> None:
        # `logging.makeLogRecord` makes records of nothing first, without a name or a level.
        if not record.levelno or record.levelno < logging.WARNING or not self._is_watched(record.name):
            return
        message = Message(logger=record.name, level=record.levelname, text=_text_of(record))
        if message not in self.messages:
            self.messages.append(message)

    def _is_watched(self, name: str) -> bool:
        return any(name == logger or name.startswith(logger + ".") for logger in self._loggers)


def _text_of(record: logging.LogRecord) -> str:
    """The message; where its arguments do not fit, as it was written, since watching must not break what logs."""
    try:
        return record.getMessage()
    except Exception:
        return str(record.msg)
