from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.launch import watched
from coldwarm.suite.watching import Watching


@pytest.mark.parametrize(("is_gate", "status"), [(False, 5), (True, ExitCode.INTERNAL_ERROR)])
@pytest.mark.parametrize("where", ["measuring", "printing"])
def test_the_command_goes_on_if_the_report_fails(
    is_gate: bool, status: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str] = []

    def fail(*_: object) -> Any:
        raise ValueError("a defect")

    if where == "measuring":
        monkeypatch.setattr(watched, "read_reports", fail)
    watching = Watching(
        [sys.executable, "-c", "raise SystemExit(5)"],
        is_gate=is_gate,
        on_report=fail if where == "printing" else lambda report: None,
        on_problem=problems.append,
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert watching.run() == status
    assert "internal error: cannot report on the start: ValueError: a defect" in problems
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
