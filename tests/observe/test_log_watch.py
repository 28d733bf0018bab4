from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator

import pytest

from coldwarm.observe.log_watch import WarningProbe

NAME = "test_log_watch.compiler"


@pytest.fixture
def keeper() -> Iterator[WarningProbe]:
    keeper = WarningProbe((NAME,))
    make = logging.getLogRecordFactory()
    keeper.install()
    yield keeper
    logging.setLogRecordFactory(make)


def texts(keeper: WarningProbe) -> list[str]:
    return [message.text for message in keeper.messages]


def test_warnings_and_errors_are_kept_and_nothing_below(keeper: WarningProbe) -> None:
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.DEBUG)
    logger.debug("debug")
    logger.info("info")
    logger.warning("cannot load %s", "it")
    logger.error("error")
    assert [(m.level, m.text) for m in keeper.messages] == [("WARNING", "cannot load it"), ("ERROR", "error")]


def test_loggers_below_are_watched_others_are_not(keeper: WarningProbe) -> None:
    logging.getLogger(f"{NAME}.cache").warning("below")
    logging.getLogger(f"{NAME}s").warning("beside")
    logging.getLogger("test_log_watch").warning("above")
    assert [(m.logger, m.text) for m in keeper.messages] == [(f"{NAME}.cache", "below")]


def test_each_text_is_kept_once(keeper: WarningProbe) -> None:
    for text in ("a", "b", "a"):
        logging.getLogger(NAME).warning(text)
    assert texts(keeper) == ["a", "b"]


def test_the_watch_survives_a_new_logging_configuration(keeper: WarningProbe) -> None:
    logger = logging.getLogger(NAME)
    logging.config.dictConfig({"version": 1, "loggers": {NAME: {"level": "INFO", "propagate": False}}})
    logger.warning("after")
    logger.propagate = True
    assert texts(keeper) == ["after"]


def test_every_watcher_is_told(keeper: WarningProbe) -> None:
    other = WarningProbe((NAME,))
    other.install()
    logging.getLogger(NAME).warning("both")
    assert texts(keeper) == texts(other) == ["both"]


def test_a_message_that_cannot_be_formatted_does_not_stop_what_logs_it(
    keeper: WarningProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # logging itself reports this and goes on (Handler.handleError); a start must not crash because it is watched.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logging.getLogger(NAME), "propagate", False)
    logging.getLogger(NAME).warning("%d of %d artifacts", 3)
    assert len(keeper.messages) == 1
    assert "of %d artifacts" in texts(keeper)[0]


def test_a_record_made_of_a_dictionary_can_still_be_made(keeper: WarningProbe) -> None:
    # What log queues and sockets do: the factory is called with a name and a level of None.
    assert logging.makeLogRecord({"name": NAME, "msg": "x", "levelno": logging.ERROR}).msg == "x"
