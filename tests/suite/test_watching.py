from __future__ import annotations

import signal
import sys

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.diagnose.warmth import StartWarmth
from coldwarm.suite.watching import Watching


@pytest.mark.parametrize(("is_gate", "status"), [(False, 5), (True, ExitCode.INTERNAL_ERROR)])
def test_the_command_goes_on_if_the_report_fails(is_gate: bool, status: int) -> None:
    problems: list[str] = []

    def fail(report: StartWarmth) -> None:
        raise ValueError("a defect")

    watching = Watching(
        [sys.executable, "-c", "raise SystemExit(5)"], is_gate=is_gate, on_report=fail, on_problem=problems.append
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert watching.run() == status
    assert "internal error: cannot report on the start: ValueError: a defect" in problems
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
