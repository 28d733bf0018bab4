"""`coldwarm compare`: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.command import Command
from coldwarm.core.exit_codes import ExitCode
from coldwarm.store.suite_folder import Store
from tests.support.commands import ROOT, Commands
from tests.support.repeated import repeated
from tests.support.stored import stored

OLD = [20.0, 20.1, 20.2, 20.3, 20.4]
SLOWER = [each * 1.2 for each in OLD]


def of_seconds(folder: Path, seconds: Sequence[float]) -> Path:
    return stored(folder, repeated(seconds, phases={"Dynamo": seconds[0] / 4}))


def test_a_slowdown_is_shown_with_its_size_and_fails(commands: Commands, tmp_path: Path) -> None:
    before, after = of_seconds(tmp_path / "a", OLD), of_seconds(tmp_path / "b", SLOWER)
    reports = [word for name in ("json", "html", "markdown") for word in ("--report", f"{name}=out/c.{name}")]
    done = commands.run_in_process("compare", "a", "b", *reports)
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert "<h1>Regression in time, in 1 run</h1>" in (tmp_path / "out" / "c.html").read_text()
    assert done.stdout.startswith("## Changes from a to b\n\n**Regression in time**, in 1 run.\n")
    assert "| tiny | cold | 20.20 | 24.24 | +20 % | +18 % to +22 % | 0.016 | slower |" in done.stdout
    assert "| tiny | cold: Dynamo | 5.00 | 6.00 | +20 % |" in done.stdout
    assert (tmp_path / "out" / "c.markdown").read_text() == done.stdout
    content = json.loads((tmp_path / "out" / "c.json").read_text())
    assert (content["exit_code"], content["regressions"]) == (1, ["time"])
    cold = content["runs"][0]["seconds"][0]
    assert cold["quantity"] == "cold" and cold["before"] == OLD and cold["ratio"] == pytest.approx(1.2)
    assert commands.run_in_process("compare", before, after, "--fail-on", "counts,findings").returncode == 0
    assert commands.run_in_process("compare", before, before).returncode == 0


def test_a_terminal_shows_formatted_text(commands: Commands, tmp_path: Path) -> None:
    before, after = of_seconds(tmp_path / "a", OLD), of_seconds(tmp_path / "b", SLOWER)
    ours, theirs = pty.openpty()
    line = commands.line("compare", str(before), str(after))
    environment = {**commands.environment(), "TERM": "dumb", "COLUMNS": "120"}
    subprocess.run(line, env=environment, stdout=theirs, check=False, timeout=60)
    os.close(theirs)
    screen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "Regression in time, in 1 run." in screen
    assert re.search(r"tiny +cold +20\.20 +24\.24 +\+20 % +\+18 % to \+22 % +0\.016 +slower", screen)
    assert "|" not in screen and "**" not in screen


def test_a_report_is_printed_instead_of_markdown_if_its_file_is_a_dash(commands: Commands, tmp_path: Path) -> None:
    of_seconds(tmp_path / "a", OLD)
    done = commands.run_in_process("compare", "a", "a", "--report", "json=-", "--report", "markdown=c.md")
    assert done.returncode == 0 and json.loads(done.stdout)["exit_code"] == 0
    assert (tmp_path / "c.md").read_text().startswith("## Changes from a to a\n")
    assert not (tmp_path / "-").exists()
    done = commands.run_in_process("compare", "none", "a", "--update", "--report", "json=-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "There is no accepted run yet.\n")


def test_too_few_starts_are_an_answer_that_is_not_green(commands: Commands, tmp_path: Path) -> None:
    of_seconds(tmp_path / "a", OLD[:3])
    done = commands.run_in_process("compare", "a", "a")
    assert done.returncode == ExitCode.USAGE
    assert "Not enough starts to tell (3 and 3; at least 5 each are needed: `coldwarm run --repeat 5`)." in done.stdout
    assert "**No regression of counts or findings in 1 run; seconds could not be compared.**" in done.stdout


def test_a_start_that_only_waited_is_said_to_have_waited(commands: Commands, tmp_path: Path) -> None:
    for folder, seconds in (("a", OLD), ("b", SLOWER)):
        stored(tmp_path / folder, repeated(seconds, cpu_seconds=15.0))
    done = commands.run_in_process("compare", "a", "b")
    assert "tiny: the cold start is slower and needs no more CPU time: it waited" in done.stdout
    assert "waited" not in commands.run_in_process("compare", "a", "a").stdout


def test_a_phase_that_is_new_has_no_ratio(commands: Commands, tmp_path: Path) -> None:
    for folder, phases in (("a", {"Dynamo": 5.0}), ("b", {"Dynamo": 5.0, "Inductor": 9.0})):
        stored(tmp_path / folder, repeated(OLD, phases=phases))
    commands.run_in_process("compare", "a", "b", "--report", "json=c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    ratios = {each["quantity"]: each["ratio"] for each in content["runs"][0]["seconds"]}
    assert ratios["cold: Dynamo"] == 1 and ratios["cold: Inductor"] is None


def test_suites_in_a_folder_are_combined(commands: Commands, tmp_path: Path) -> None:
    for number, seconds in enumerate(OLD):
        of_seconds(tmp_path / "old" / str(number), [seconds])
    of_seconds(tmp_path / "new", SLOWER)
    done = commands.run_in_process("compare", "old", "new")
    assert "| tiny | cold | 20.20 | 24.24 | +20 % |" in done.stdout and done.returncode == ExitCode.FAILED


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"device": "cuda"}, "device: cpu, cuda"),
        ({"options": {"seed": 1}}, "option seed: 1, not set"),
        ({"command": Command(words=["python", "a.py", "--big"], folder="/")}, "command: not set, python a.py --big"),
    ],
)
def test_suites_with_different_settings_are_not_combined(
    commands: Commands, tmp_path: Path, changed: dict[str, Any], difference: str
) -> None:
    run = repeated(OLD)
    stored(tmp_path / "old" / "1", run)
    stored(tmp_path / "old" / "2", replace(run, case=run.case.model_copy(update=changed)))
    done = commands.run_in_process("compare", "old", "old/1")
    assert done.returncode == ExitCode.USAGE
    assert (
        "coldwarm: old: the starts of tiny cannot be combined, because its suites have different settings "
        f"({difference}); give one suite, or a folder of suites with the same settings\n"
    ) in done.stderr


def test_an_unfinished_suite_among_several_has_the_exit_code_of_a_crash(commands: Commands, tmp_path: Path) -> None:
    of_seconds(tmp_path / "old", OLD)
    of_seconds(tmp_path / "new" / "1", OLD)
    for name in ("2", "3"):
        Store.create(tmp_path / "new" / name, ["aborted"])
    done = commands.run_in_process("compare", "old", "new")
    assert done.returncode == ExitCode.CRASHED, done.stdout
    assert "Not started: aborted.\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-on", "coutns"], "--fail-on coutns: no such kind; nearest: counts"),
        (["--fail-on", "none,time"], "give none, or the kinds of regressions, not both"),
        (["--report", "xml=a"], "unknown format 'xml'"),
        (["--report", "json"], "write --report json=FILE, or json=- for stdout"),
        (["--report", "json=-", "--report", "html=-"], "only one report can go to stdout (-)"),
    ],
)
def test_wrong_options_are_refused(commands: Commands, tmp_path: Path, words: list[str], message: str) -> None:
    of_seconds(tmp_path / "a", OLD)
    done = commands.run_in_process("compare", "a", "a", *words)
    assert done.returncode == ExitCode.USAGE and message in done.stderr and done.stdout == ""


def test_nothing_in_common_is_not_green(commands: Commands, tmp_path: Path) -> None:
    stored(tmp_path / "a", repeated([20.0], model="one"))
    stored(tmp_path / "b", repeated([20.0], model="two"))
    done = commands.run_in_process("compare", "a", "b", "--fail-on", "counts")
    assert done.returncode == ExitCode.USAGE
    assert "**Nothing was compared: the two sides have no run in common.**" in done.stdout
    assert "New: two.\n\nNot run: one.\n" in done.stdout


def test_releases_of_vllm_on_a_cpu_are_compared(commands: Commands) -> None:
    records = ROOT / "records"
    done = commands.run_in_process(
        "compare", records / "cpu-2026-11-29-vllm-0.28", records / "cpu-2026-11-29-vllm-0.30"
    )
    assert done.returncode == ExitCode.FAILED
    assert "**Regression in counts and findings**, in 8 runs." in done.stdout
    assert "| glm-4.5 | cold saved | 4 | 5 | worse |" in done.stdout
    assert "Broke:\n\n- `first-moe-layer-on-cpu`: " in done.stdout
    assert "\\`math\\_prod((s72, 256))" in done.stdout
