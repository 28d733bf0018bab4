from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from coldwarm.observe import log_watch
from coldwarm.observe.log_watch import WarningProbe

NAME = "test_log_watch.compiler"


@pytest.fixture
def probe() -> Iterator[WarningProbe]:
    probe = WarningProbe((NAME,))
    make = logging.getLogRecordFactory()
    probe.install()
    yield probe
    logging.setLogRecordFactory(make)


def texts(probe: WarningProbe) -> list[str]:
    return [message.text for message in probe.messages]


def test_only_warnings_and_errors_are_stored(probe: WarningProbe) -> None:
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.DEBUG)
    logger.debug("debug")
    logger.info("info")
    logger.warning("cannot load %s", "it")
    logger.error("error")
    assert [(m.level, m.text) for m in probe.messages] == [("WARNING", "cannot load it"), ("ERROR", "error")]


def test_the_exception_that_is_logged_with_a_message_is_stored(probe: WarningProbe) -> None:
    try:
        raise ModuleNotFoundError("No module named 'x'")
    except ModuleNotFoundError:
        logging.getLogger(NAME).exception("cannot inspect it")
    logging.getLogger(NAME).warning("no exception", exc_info=True)
    assert [message.exception for message in probe.messages] == ["ModuleNotFoundError: No module named 'x'", None]


def test_child_loggers_are_watched_and_others_are_not(probe: WarningProbe) -> None:
    logging.getLogger(f"{NAME}.cache").warning("child")
    logging.getLogger(f"{NAME}s").warning("sibling")
    logging.getLogger("test_log_watch").warning("parent")
    assert [(m.logger, m.text) for m in probe.messages] == [(f"{NAME}.cache", "child")]


def test_each_text_is_stored_once(probe: WarningProbe) -> None:
    for text in ("a", "b", "a"):
        logging.getLogger(NAME).warning(text)
    assert texts(probe) == ["a", "b"]


def test_a_server_that_never_stops_warning_does_not_fill_the_memory(
    probe: WarningProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_watch, "_MOST_MESSAGES", 3)
    for n in range(5):
        logging.getLogger(NAME).warning("request %d", n)
    assert texts(probe) == ["request 0", "request 1", "request 2"]


def test_the_probe_still_works_after_logging_is_reconfigured(probe: WarningProbe) -> None:
    logger = logging.getLogger(NAME)
    logging.config.dictConfig({"version": 1, "loggers": {NAME: {"level": "INFO", "propagate": False}}})
    logger.warning("after")
    logger.propagate = True
    assert texts(probe) == ["after"]


def test_several_probes_get_the_same_messages(probe: WarningProbe) -> None:
    other = WarningProbe((NAME,))
    other.install()
    logging.getLogger(NAME).warning("both")
    assert texts(probe) == texts(other) == ["both"]


def test_a_message_that_cannot_be_formatted_does_not_raise_in_the_code_that_logs_it(
    probe: WarningProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # logging itself reports the error and continues (Handler.handleError); a probe must not change that.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logging.getLogger(NAME), "propagate", False)
    logging.getLogger(NAME).warning("%d of %d artifacts", 3)
    assert len(probe.messages) == 1
    assert "of %d artifacts" in texts(probe)[0]


def test_a_record_can_still_be_created_from_a_dictionary(probe: WarningProbe) -> None:
    # As by log queues and sockets: the factory is called with None as name and level.
    assert logging.makeLogRecord({"name": NAME, "msg": "x", "levelno": logging.ERROR}).msg == "x"
