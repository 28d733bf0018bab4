from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.diagnose.warmth import StartWarmth
from coldwarm.launch import watched
from coldwarm.suite.watching import Expected, Watching, not_as_expected


@pytest.mark.parametrize(("is_gate", "status"), [(False, 5), (True, ExitCode.INTERNAL_ERROR)])
@pytest.mark.parametrize("where", ["measuring", "printing"])
def test_the_command_goes_on_if_the_report_fails(
    is_gate: bool, status: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str] = []

    def fail(*_: object) -> Any:
        raise ValueError("a defect")

    if where == "measuring":
        monkeypatch.setattr(watched, "reports_of_processes", fail)
    watching = Watching(
        [sys.executable, "-c", "raise SystemExit(5)"],
        expected=Expected.WARM if is_gate else None,
        on_report=fail if where == "printing" else lambda report, record: None,
        on_problem=problems.append,
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert watching.run() == status
    assert "internal error: cannot report on the start: ValueError: a defect" in problems
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.parametrize(("is_gate", "status"), [(False, 5), (True, ExitCode.CRASHED)])
def test_a_gate_whose_report_is_lost_has_no_verdict(
    is_gate: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: watched.WatchedCommand, *_: object) -> int:
        self.lost_report = True
        return 5

    monkeypatch.setattr(watched.WatchedCommand, "run", run)
    problems: list[str] = []
    watching = Watching(
        [sys.executable, "-c", "pass"],
        expected=Expected.WARM if is_gate else None,
        on_report=lambda report, record: None,
        on_problem=problems.append,
    )
    assert watching.run() == status
    assert problems == ["the report on the start is lost: a signal came while it was being made"]


@pytest.mark.parametrize(
    ("fields", "expected", "why"),
    [
        ({"warmth": "warm"}, Expected.WARM, None),
        ({"warmth": "cold"}, Expected.WARM, "something was compiled"),
        ({"warmth": "compiles nothing"}, Expected.CACHED, "nothing was loaded from a cache"),
        ({"warmth": "warm", "unobserved": ["x"]}, Expected.WARM, "not everything could be observed"),
        ({"warmth": "partly warm", "is_unavoidable": True}, Expected.CACHED, None),
        ({"warmth": "partly warm"}, Expected.CACHED, "something was compiled"),
        (
            {"warmth": "partly warm", "is_unavoidable": True},
            Expected.WARM,
            "something was compiled that no start can load; --expect cached accepts it",
        ),
    ],
)
def test_a_start_that_is_not_as_expected_fails_with_the_reason(
    fields: dict[str, Any], expected: Expected, why: str | None
) -> None:
    start = StartWarmth.model_validate({"command": ["serve"], "seconds": 1.0, "processes": [], **fields})
    message = None if why is None else f"expected a warm start, but {why} (exit code 1)"
    assert not_as_expected(start, expected) == message
