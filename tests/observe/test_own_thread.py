from __future__ import annotations

import signal

from coldwarm.observe.own_thread import start_thread


def test_the_thread_takes_no_signals_that_a_program_may_wait_for() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    masks: list[set[int]] = []
    start_thread(lambda: masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, []))), "x").join()
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1} <= masks[0]
    assert signal.SIGSEGV not in masks[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
