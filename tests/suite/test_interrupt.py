from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from coldwarm.suite.interrupt import orderly_interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def current_handlers() -> list[object]:
    return [signal.getsignal(each) for each in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_becomes_a_keyboard_interrupt(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), orderly_interrupt():
        signal.raise_signal(number)


def test_further_signals_do_not_interrupt_the_cleanup() -> None:
    cleaned = False
    with orderly_interrupt():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            cleaned = True
    assert cleaned


def test_handlers_are_restored() -> None:
    before = current_handlers()
    with orderly_interrupt():
        assert current_handlers() != before
    assert current_handlers() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_are_restored_after_a_signal(number: signal.Signals) -> None:
    before = current_handlers()
    with pytest.raises(KeyboardInterrupt), orderly_interrupt():
        signal.raise_signal(number)
    assert current_handlers() == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_was_ignored_stays_ignored(number: signal.Signals) -> None:
    # `nohup coldwarm run`; a shell script's `coldwarm run &`.
    signal.signal(number, signal.SIG_IGN)
    interrupted = False
    try:
        with orderly_interrupt():
            signal.raise_signal(number)
    except KeyboardInterrupt:
        interrupted = True
    assert not interrupted
