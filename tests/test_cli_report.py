"""`coldwarm report`, and the page that `coldwarm run` leaves in its folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.run_folder import RunFolder
from coldwarm.report.html import suite_report
from tests.report.html.suites import H200, not_shared
from tests.support.commands import Commands
from tests.support.graphs import Compiled, first_code, last_code, layer_code, model_records, timed_trace
from tests.support.records import tiny_config
from tests.support.runs import passed
from tests.support.stored import stored


def test_stored_suites_become_one_page(commands: Commands, tmp_path: Path) -> None:
    stored(tmp_path / "monday", passed("one"))
    stored(tmp_path / "tuesday", passed("two"))
    done = commands.run_in_process("report", "monday", "tuesday", "-o", "new/page.html")
    assert (done.returncode, done.stdout) == (ExitCode.HEALTHY, "report: new/page.html\n")
    assert re.findall("<h2>(.*)</h2>", (tmp_path / "new" / "page.html").read_text()) == ["monday", "tuesday"]


def test_a_single_real_run_becomes_a_page(commands: Commands, tmp_path: Path) -> None:
    assert commands.run_in_process("report", H200 / "llama-3.1-8b").returncode == ExitCode.HEALTHY
    assert "<title>coldwarm report: llama-3.1-8b</title>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("arguments", [("missing",), ("suite", "-o", "suite")])
def test_what_cannot_be_read_or_written_is_a_usage_error(
    commands: Commands, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    stored(tmp_path / "suite", passed())
    done = commands.run_in_process("report", *arguments)
    assert done.returncode == ExitCode.USAGE
    assert arguments[-1] in done.stderr
    assert not (tmp_path / "report.html").exists()


def test_graphs_that_were_not_recorded_are_read_from_the_trace(commands: Commands, tmp_path: Path) -> None:
    result = not_shared()
    assert result.explanation is not None
    older = result.explanation.model_copy(update={"compared_graphs": None})
    trace = RunFolder(stored(tmp_path / "suite", replace(result, explanation=older)) / "apart").trace("cold")
    commands.run_in_process("report", "suite")
    assert "The graphs were not recorded" in (tmp_path / "report.html").read_text()

    layers = (layer_code(0), "k1"), (layer_code(1, scale="0.5"), "k2"), (layer_code(2), None)
    codes = [(first_code(), "k0"), *layers, (last_code(3), "k3")]
    trace.mkdir()
    text = timed_trace(model_records(*(Compiled(*each) for each in codes)))
    (trace / "dedicated_log_torch_trace_rank_0_a.log").write_text(text)
    commands.run_in_process("report", "suite")
    page = (tmp_path / "report.html").read_text()
    assert "The graphs were not recorded" not in page
    assert "mul: bf16[s72, 8] = linear * <mark>0.5</mark>" in page


@pytest.mark.usefixtures("fake_engine")
def test_a_run_ends_with_the_path_of_its_page(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(tiny_config(behaves="healthy")))
    done = commands.run_in_process("run", "a.json", "--engine", "fake", "--output", "out")
    assert done.stderr.splitlines()[-1] == "report: out/report.html"
    assert "<title>coldwarm report: a</title>" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("fake_engine")
def test_a_page_that_cannot_be_written_changes_no_exit_code(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(tiny_config(behaves="healthy")))
    monkeypatch.setattr(suite_report, "SuiteSummary", None)
    done = commands.run_in_process("run", "a.json", "--engine", "fake", "--output", "out")
    assert done.returncode == ExitCode.HEALTHY
    assert "no HTML report was written: AttributeError" in done.stderr
