"""`pytest` alone, with a path, or with -k runs what needs no vLLM, on all cores; what may start vLLM runs serially."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import conftest
from tests.support.commands import ROOT
from tests.support.marks import may_select


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("not real", False),
        ("not real and x", False),
        ("x and not (y or real)", False),
        ("not (real or x)", False),
        ("x and real", True),
        ("not real or x", True),
        ("x", True),
        ("not x", True),
        ("real", True),
        ("not not real", True),
        ("", True),
        ("not (", True),
    ],
)
def test_an_expression_may_select_real_starts_if_any_marks_make_it_true(expression: str, may: bool) -> None:
    assert may_select(expression, "real") is may


@pytest.mark.parametrize(("expression", "workers"), [("not real and x", 9), ("real", 0), ("x", 0)])
def test_only_what_may_start_vllm_runs_serially(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, expression: str, workers: int
) -> None:
    monkeypatch.setattr(conftest, "cores", lambda: 8)
    monkeypatch.setattr(pytestconfig.option, "markexpr", expression)
    assert conftest.pytest_xdist_auto_num_workers(pytestconfig) == workers


def test_without_an_expression_nothing_that_starts_vllm_is_selected() -> None:
    paths = ["tests/real", "tests/core/test_errors.py"]
    command = [sys.executable, "-m", "pytest", "-n", "0", "--collect-only", "-q", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert files == {"tests/core/test_errors.py"}
