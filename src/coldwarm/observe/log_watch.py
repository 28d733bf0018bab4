"""Captures everything that is logged in this process, regardless of how logging is configured."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from coldwarm.core.record import Message, ProcessReport

_MOST_MESSAGES = 2000


def watch_logs(on_record: Callable[[logging.LogRecord], None]) -> None:
    """Call `on_record` with every record that is logged from now on.

    This replaces the record factory instead of adding a handler, because engines reconfigure logging while they start
    (vllm/logger.py, `dictConfig`), which removes the handlers of their loggers.
    """
    make = logging.getLogRecordFactory()

    def make_and_report(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        on_record(record)
        return record

    logging.setLogRecordFactory(make_and_report)


class WarningProbe:
    """Reports the messages of given loggers and their children at level WARNING or above, without duplicates.

    Only the first `_MOST_MESSAGES` are stored: a server may warn with every request, each time with another text.

    Args:
        loggers: The names of the loggers.
    """

    name = "warnings"

    def __init__(self, loggers: tuple[str, ...]) -> None:
        self._loggers = loggers
        self._problem: Exception | None = None
        self.messages: list[Message] = []

    def install(self) -> None:
        """Capture everything that is logged from now on."""
        # Here, because pydantic builds it within a lock, which the program's threads would hold when they log.
        Message.model_rebuild()
        watch_logs(self)

    def report(self, report: ProcessReport) -> None:
        """Report the messages; then raise the first error that occurred in storing one."""
        report.messages = list(self.messages)
        if self._problem is not None:
            raise self._problem

    def seen(self) -> int:
        """Return the number of messages."""
        return len(self.messages)

    def __call__(self, record: logging.LogRecord) -> None:
        """Store `record` if its logger and level match. Never raises, as that would fail the code that logs it."""
        try:
            self._take(record)
        except Exception as error:
            self._problem = self._problem or error

    def _take(self, record: logging.LogRecord) -> None:
        # `logging.makeLogRecord` first creates an empty record, without a name or a level.
        if not record.levelno or record.levelno < logging.WARNING or not self._is_watched(record.name):
            return
        message = Message(
            logger=record.name, level=record.levelname, text=_text_of(record), exception=_exception_of(record)
        )
        if len(self.messages) < _MOST_MESSAGES and message not in self.messages:
            self.messages.append(message)

    def _is_watched(self, name: str) -> bool:
        return any(name == logger or name.startswith(logger + ".") for logger in self._loggers)


def _text_of(record: logging.LogRecord) -> str:
    """Return the formatted message, or the format string if the arguments do not match it."""
    try:
        return record.getMessage()
    except Exception:
        return str(record.msg)


def _exception_of(record: logging.LogRecord) -> str | None:
    """Return the type and the message of the exception that is logged with `record`."""
    error = record.exc_info[1] if record.exc_info else None
    return "".join(traceback.format_exception_only(error)).strip() if error is not None else None
